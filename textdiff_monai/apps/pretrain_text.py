"""The text encoder that ships, made again."""

from __future__ import annotations

from pathlib import Path

from textdiff_monai.pretraining.language import train_text_encoder


def pretrain_text(folder: str | Path, start: str | Path, steps: int = 3000, seed: int = 0) -> Path:
    """Reproduce the shipped text encoder: train a general one further on the meaning of captions.

    Args:
        folder: the new Hugging Face folder; a training that was stopped resumes.
        start: folder of the encoder to start from; all-MiniLM-L6-v2 for the shipped one.
        steps: optimizer steps of 16 sentences each; 6000 for the shipped one.
        seed: seed of the sentences and the read-outs.

    Raises:
        FileNotFoundError: if there is no encoder in `start`.
        FileExistsError: for a folder that contains something other than an interrupted training.
        ValueError: for an interrupted training with other steps or another seed.
    """
    if not (Path(start) / "config.json").exists():
        raise FileNotFoundError(f"{start}: expected a folder with a BERT (config.json, model.safetensors, tokenizer)")
    target = Path(folder)
    if target.exists() and any(target.iterdir()) and not any(target.glob("training.*")):
        raise FileExistsError(f"{folder} holds no training that was stopped; choose a new folder")
    train_text_encoder(start, folder, steps=steps, seed=seed)
    return Path(folder)

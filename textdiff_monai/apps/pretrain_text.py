"""The text encoder that ships, made again."""

from __future__ import annotations

from pathlib import Path

from textdiff_monai.pretraining.language import train_text_encoder


def pretrain_text(folder: str | Path, start: str | Path, steps: int = 3000, seed: int = 0) -> Path:
    """Make the text encoder that ships: a general one goes on learning, now what captions mean.

    Args:
        folder: the new Hugging Face folder; a training that was stopped goes on.
        start: folder of the encoder to start from; all-MiniLM-L6-v2's for the one that ships.
        steps: optimiser steps of 16 sentences.
        seed: of the sentences and the read-outs.

    Raises:
        FileNotFoundError: if there is no encoder in `start`.
    """
    if not (Path(start) / "config.json").exists():
        raise FileNotFoundError(f"{start}: expected a folder with a BERT (config.json, model.safetensors, tokenizer)")
    train_text_encoder(start, folder, steps=steps, seed=seed)
    return Path(folder)

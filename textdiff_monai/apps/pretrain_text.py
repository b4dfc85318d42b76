"""The small text encoder that ships, made again."""

from __future__ import annotations

from pathlib import Path

from textdiff_monai.pretraining.language import train_text_encoder


def pretrain_text(folder: str | Path, steps: int = 4500, seed: int = 0) -> Path:
    """Train the small text encoder that ships, on sentences of the grammar.

    Args:
        folder: the new Hugging Face folder.
        steps: optimiser steps of 64 sentences.
        seed: of weights and sentences.
    """
    train_text_encoder(folder, steps=steps, seed=seed)
    return Path(folder)

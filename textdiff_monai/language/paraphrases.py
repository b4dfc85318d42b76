"""Everyday sentences: what a caption does not say."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def paraphrases() -> list[tuple[str, str]]:
    """Pairs of sentences that mean the same, about other things than captions, of ``rules/paraphrases.txt``."""
    text = (files(__package__) / "rules" / "paraphrases.txt").read_text(encoding="utf-8")
    pairs = (line.split("|") for line in text.splitlines() if line and not line.startswith("#"))
    return [(one.strip(), other.strip()) for one, other in pairs]

"""What of the sentences a text encoder cannot read, said before any work is spent."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from textdiff_monai.data.problems import listed
from textdiff_monai.networks.text_encoder import TextEncoder


def check_sentences(items: Sequence[Mapping[str, Any]], encoder: TextEncoder) -> None:
    """Warns, once and counted, of sentences that are cut and of those with words that the tokenizer does not know.

    Args:
        items: with ``text`` and ``image``, by which sentences are named: they may be reports, and are not printed.
        encoder: that will read them.
    """
    images = {str(item["text"]): str(item["image"]) for item in reversed(items) if item.get("text")}
    tokens = {text: encoder.tokenizer(text, verbose=False)["input_ids"] for text in images}
    unknown = {text: ids.count(encoder.tokenizer.unk_token_id) for text, ids in tokens.items()}
    cut = [images[text] for text in images if len(tokens[text]) > encoder.max_length]
    strange = [images[text] for text in images if unknown[text]]
    if cut:
        longest = max(map(len, tokens.values()))
        what = f"have more than the {encoder.max_length} tokens that are read (up to {longest}) and are cut"
        warnings.warn(f"{len(cut)} of {len(images)} sentences {what}; those of {listed(cut, 3)}", stacklevel=2)
    if strange:
        what = f"have words that the text encoder does not know ({sum(unknown.values())} in all)"
        warnings.warn(f"{len(strange)} of {len(images)} sentences {what}; those of {listed(strange, 3)}", stacklevel=2)

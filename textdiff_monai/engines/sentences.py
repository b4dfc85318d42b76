"""What of the sentences a text encoder cannot read, said before any work is spent."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from textdiff_monai.data.problems import listed
from textdiff_monai.language.lexicon import grammar_words
from textdiff_monai.networks.text_encoder import TextEncoder

# Of the words of all sentences the share that the encoder or the grammar has, with the encoder that ships: clinicians'
# English has 0.86 and more, other languages less than half but for what the grammar has of them.
_KNOWN = 0.6


def check_sentences(items: Sequence[Mapping[str, Any]], encoder: TextEncoder) -> None:
    """Warns, once and counted, of sentences that are cut, of those with words that the tokenizer does not know, and if
    so many words of all are in pieces to it that they are probably of another language.

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
        what = f"are longer than the {encoder.max_length} tokens that are read (up to {longest}) and are truncated"
        warnings.warn(f"{len(cut)} of {len(images)} sentences {what}; those of {listed(cut, 3)}", stacklevel=2)
    if strange:
        what = f"have words that the text encoder does not know ({sum(unknown.values())} in all)"
        warnings.warn(f"{len(strange)} of {len(images)} sentences {what}; those of {listed(strange, 3)}", stacklevel=2)
    if (known := _known(images, encoder)) < _KNOWN:
        what = f"the text encoder knows only {known:.0%} of the words in the sentences; the shipped one reads English"
        warnings.warn(f"{what}: translate them, or choose an encoder with --text_encoder", stacklevel=2)


def _known(texts: Iterable[str], encoder: TextEncoder) -> float:
    """The share of words of three letters and more that are whole to the tokenizer, or stand in the grammar."""
    words = [word for text in texts for word in re.findall(r"[^\W\d_]{3,}", text)]
    whole = {word: len(encoder.tokenizer.tokenize(f" {word}")) == 1 for word in set(words)}
    known = sum(whole[word] or word.lower() in grammar_words() for word in words)
    return known / len(words) if words else 1.0

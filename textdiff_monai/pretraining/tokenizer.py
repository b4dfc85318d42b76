"""A WordPiece tokenizer that knows whole words, common parts of words and every Latin character."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    PreTrainedTokenizerFast,
)

SPECIAL = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
MAX_LENGTH = 256
# ASCII, the Latin letters of Europe, Greek, and the dashes, quotes, arrows and signs that word processors insert.
_BLOCKS = ((0x21, 0x180), (0x391, 0x3CA), (0x2010, 0x2045), (0x20AC, 0x20AD), (0x2190, 0x2194), (0x2212, 0x2213),
           (0x2248, 0x2249), (0x2260, 0x2266))  # fmt: skip


_MIN_COUNT = 5  # times that a word must occur in the texts, and a part in different words, to be a token


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = 1500) -> PreTrainedTokenizerFast:
    """A BERT-style WordPiece tokenizer that knows whole words, common parts of words and every Latin character.

    The vocabulary depends on `texts` alone; that of `tokenizers`' own trainers differs from run to run.

    Args:
        texts: what to count words in.
        vocabulary_size: tokens at most; special tokens, characters and words come first and always, then parts.
    """
    normalizer, splitter = BertNormalizer(lowercase=True, strip_accents=True), BertPreTokenizer()
    normalized = map(normalizer.normalize_str, texts)
    counts = Counter(word for text in normalized for word, _ in splitter.pre_tokenize_str(text))
    words = sorted(word for word, count in counts.items() if count >= _MIN_COUNT)
    parts = Counter(
        "##" * (start > 0) + word[start:end]
        for word in words
        for start, end in combinations(range(len(word) + 1), 2)
        if end - start > 1
    )
    # First the parts that spare the most characters; one that few words share tells nothing about others.
    shared = [part for part, count in parts.items() if count >= _MIN_COUNT]
    shared.sort(key=lambda part: (-parts[part] * (len(part.strip("#")) - 1), part))
    printable = "".join(chr(code) for block in _BLOCKS for code in range(*block))
    characters = sorted(set(normalizer.normalize_str(printable)) - {" "})
    continued = ["##" + character for character in characters]
    known = dict.fromkeys([*SPECIAL.values(), *characters, *continued, *words])
    tokens = dict.fromkeys([*known, *shared[: max(0, vocabulary_size - len(known))]])

    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=SPECIAL["unk_token"], max_input_chars_per_word=1000))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, **SPECIAL)

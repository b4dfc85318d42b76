"""A smaller vocabulary for a BERT: the words that matter here, and all characters, so that no Latin text is unknown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

MAX_LENGTH = 256
SPECIAL = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
# ASCII, the Latin letters of Europe, Greek, and the dashes, quotes, arrows and signs that word processors insert.
_BLOCKS = ((0x21, 0x180), (0x391, 0x3CA), (0x2010, 0x2045), (0x20AC, 0x20AD), (0x2190, 0x2194), (0x2212, 0x2213),
           (0x2248, 0x2249), (0x2260, 0x2266))  # fmt: skip


def characters() -> list[str]:
    """The special tokens and, at the start and within a word, every character of texts in Latin letters."""
    normal = BertNormalizer(lowercase=True, strip_accents=True)
    known = sorted(set(normal.normalize_str("".join(chr(c) for block in _BLOCKS for c in range(*block)))) - {" "})
    return [*SPECIAL.values(), *known, *("##" + character for character in known)]


def tokenizer_of(tokens: Iterable[str], max_length: int = MAX_LENGTH) -> PreTrainedTokenizerFast:
    """BERT's lower-casing WordPiece tokenizer with these tokens, the special ones among them."""
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=1000))
    tokenizer.normalizer = BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **SPECIAL)


def trim(model: BertModel, known: list[str], wanted: Iterable[str], size: int) -> tuple[BertModel, list[str]]:
    """The model with fewer tokens and positions; what it computes of the others stays.

    Args:
        model: a BERT.
        known: its tokens, in order, common ones first.
        wanted: tokens to keep, the most wanted first; special tokens and characters come before them.
        size: tokens to keep at most. What is left over goes to whole words and parts of words, three to one, in the
            order of `known`.

    Returns:
        The model and its tokens.
    """
    rows = {token: index for index, token in enumerate(known)}
    plain = [token for token in known if not token.startswith("[")]
    tokens = list(dict.fromkeys([*characters(), *(token for token in wanted if token in rows)]))[:size]
    kept = set(tokens)
    whole = [token for token in plain if not token.startswith("##") and len(token) > 1 and token not in kept]
    parts = [token for token in plain if token.startswith("##") and token not in kept]
    spare = size - len(tokens)
    tokens += whole[: 3 * spare // 4] + parts[: spare - 3 * spare // 4]
    # A character that the vocabulary lacks starts as the unknown token.
    chosen = torch.tensor([rows.get(token, rows["[UNK]"]) for token in tokens])
    weights = model.state_dict()
    words, positions = (f"embeddings.{name}_embeddings.weight" for name in ("word", "position"))
    length = min(MAX_LENGTH, model.config.max_position_embeddings)
    config = BertConfig(**{**model.config.to_dict(), "vocab_size": len(tokens), "max_position_embeddings": length})
    smaller = BertModel(config, add_pooling_layer=False)
    smaller.load_state_dict({**weights, words: weights[words][chosen], positions: weights[positions][:length]})
    return smaller, tokens


def save(model: BertModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Both for ``AutoModel`` and ``AutoTokenizer``, the weights in half precision."""
    model.half().save_pretrained(folder, max_shard_size="20MB")  # the model zoo takes files up to 25 MB
    tokenizer.save_pretrained(folder)
    path = Path(folder) / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # transformers 4 does not know 5's name of the class
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")

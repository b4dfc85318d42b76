"""Trains the small clinical text encoder that ships: a BERT of about one million parameters.

It learns by masked language modelling on :mod:`textdiff_monai.phantoms.grammar` alone, so it may be shared without
conditions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
)

from textdiff_monai.phantoms.grammar import sentences
from textdiff_monai.pretraining.tokenizer import MAX_LENGTH, train_tokenizer

_MISSPELT = 0.3  # share of the training texts with a slip of the pen, from which the parts of words are learned
_HELD_OUT = 2**32  # added to the seed, far from any seed in use
_BUCKET = 16  # batches that are sorted by length together, so that little of a batch is padding
_CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: feature-extraction
---

# A small text encoder for captions of chest X-rays and histology

A BERT of {layers} layers, {hidden} channels and {parameters:,} parameters with a lower-casing WordPiece tokenizer of
{vocabulary:,} tokens. Any text in Latin letters is tokenized without unknown tokens, if need be letter by letter.

    AutoTokenizer.from_pretrained(FOLDER), AutoModel.from_pretrained(FOLDER, add_pooling_layer=False)

## Training

Masked language modelling (15 % of the tokens) for {steps:,} steps of {batch} texts, {minutes:.1f} minutes on a CPU. The
texts come from the grammar in `textdiff_monai/phantoms/`; no patient's record and no published data set was used. To
make the same weights again on the same kind of machine:

    textdiff pretrain-text FOLDER --steps {steps} --seed {seed}

## Figures

Share of masked tokens that are predicted right, in {held_out:,} texts of the same grammar that training never saw
({masked:,} masked tokens):

| | accuracy |
|---|---|
| this encoder | {accuracy:.3f} |
| always the most frequent token | {baseline:.3f} |

A part of the tokens cannot be known from their context, such as the side of an only finding, so 1 is out of reach.

## Good for, not good for

Good for short English captions that say where something is: side, zone, quadrant, count, density, negation; for trying
out and testing TextDiff without downloads. Not good for free clinical prose, other languages, or medical knowledge of
any kind: it has seen a few hundred words. Use a clinical encoder trained on real reports for those. Not a medical
device.
"""


def train_text_encoder(
    folder: str | Path,
    steps: int = 4500,
    seed: int = 0,
    *,
    batch_size: int = 64,
    hidden_size: int = 128,
    layers: int = 4,
    learning_rate: float = 1e-3,
    vocabulary_size: int = 1500,
    vocabulary_texts: int = 20_000,
    held_out: int = 1000,
    progress: bool = True,
) -> dict[str, Any]:
    """Train tokenizer and encoder and save both, with a model card, for ``AutoTokenizer`` and ``AutoModel``.

    The same arguments give the same weights on the same machine; PyTorch's global generator is left as it was.

    Args:
        folder: where to write; made if need be.
        steps: optimizer steps, with a tenth of warm-up and a cosine decay to zero.
        seed: of the texts, the masks and the initial weights.
        batch_size: texts a step.
        hidden_size: channels of an embedding, in heads of 32 channels.
        layers: transformer layers.
        learning_rate: AdamW's highest.
        vocabulary_size: see :func:`train_tokenizer`.
        vocabulary_texts: texts to find the words in.
        held_out: texts, none of them trained on, to measure the masked-token accuracy with.
        progress: show a progress bar.

    Returns:
        The figures of the model card, and ``losses``, the training loss of every step (nats a masked token).
    """
    started = time.monotonic()
    tokenizer = train_tokenizer(islice(sentences(seed), vocabulary_texts), vocabulary_size)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 32,
        intermediate_size=4 * hidden_size,
        max_position_embeddings=MAX_LENGTH,
        # The texts never repeat for long, so there is nothing to regularise.
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )
    seen: set[str] = set()
    losses: list[float] = []
    counts = torch.zeros(len(tokenizer), dtype=torch.long)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForMaskedLM(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
        schedule = get_cosine_schedule_with_warmup(optimizer, max(1, steps // 10), steps)
        batches = _batches(_misspelt(sentences(seed), seed), batch_size)
        bar = tqdm(islice(batches, steps), total=steps, desc="text encoder", unit="step", disable=not progress)
        for texts in bar:
            seen.update(texts)
            batch = _tokenize(texts, tokenizer, collate)
            counts += torch.bincount(batch["labels"][batch["labels"] >= 0], minlength=len(counts))
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
        unseen = islice((text for text in sentences(seed + _HELD_OUT) if text not in seen), held_out)
        labels, predicted = _predict(model.eval(), _batches(unseen, batch_size), tokenizer, collate)
    figures = {
        "steps": steps,
        "seed": seed,
        "batch": batch_size,
        "layers": layers,
        "hidden": hidden_size,
        "vocabulary": len(tokenizer),
        "parameters": sum(parameter.numel() for parameter in model.bert.parameters()),
        "held_out": held_out,
        "masked": len(labels),
        "accuracy": (predicted == labels).float().mean().item(),
        "baseline": (counts.argmax() == labels).float().mean().item(),
        "minutes": (time.monotonic() - started) / 60,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.bert.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # transformers 4 does not know 5's name of the class
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    (folder / "README.md").write_text(_CARD.format(**figures), encoding="utf-8")
    return {**figures, "losses": losses}


def _misspelt(texts: Iterator[str], seed: int) -> Iterator[str]:
    """The texts, some of them with two neighbouring letters swapped, or one doubled, in one place."""
    rng = np.random.default_rng(seed)
    for text in texts:
        if rng.random() < _MISSPELT:
            at = int(rng.integers(len(text) - 1))
            slip = text[at + 1] + text[at] if rng.random() < 0.5 else 2 * text[at] + text[at + 1]
            text = text[:at] + slip + text[at + 2 :]
        yield text


def _batches(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    """Lists of `size` texts of similar length, in random order."""
    while bucket := sorted(islice(texts, _BUCKET * size), key=len):
        batches = [bucket[start : start + size] for start in range(0, len(bucket), size)]
        yield from (batches[index] for index in torch.randperm(len(batches)).tolist())


def _tokenize(
    texts: list[str], tokenizer: PreTrainedTokenizerFast, collate: DataCollatorForLanguageModeling
) -> dict[str, Tensor]:
    """A padded batch (B, L) with masked `input_ids` and `labels` that are -100 wherever nothing is to be predicted."""
    encoded = tokenizer(texts, truncation=True, return_special_tokens_mask=True)
    return dict(collate([{key: encoded[key][index] for key in encoded} for index in range(len(texts))]))


@torch.no_grad()
def _predict(
    model: BertForMaskedLM,
    batches: Iterable[list[str]],
    tokenizer: PreTrainedTokenizerFast,
    collate: DataCollatorForLanguageModeling,
) -> tuple[Tensor, Tensor]:
    """True and most likely token ids at all masked positions (M,)."""
    labels, predicted = [], []
    for texts in batches:
        batch = _tokenize(texts, tokenizer, collate)
        masked = batch["labels"] >= 0
        labels.append(batch["labels"][masked])
        predicted.append(model(**batch).logits.argmax(dim=-1)[masked])
    return torch.cat(labels), torch.cat(predicted)

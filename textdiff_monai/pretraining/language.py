"""Trains the text encoder that ships: a general sentence encoder goes on learning, now what captions mean."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]
from transformers import AutoModel, AutoTokenizer, BertModel, PreTrainedTokenizerBase, get_linear_schedule_with_warmup

from textdiff_monai.data.problems import changed
from textdiff_monai.language import grammar
from textdiff_monai.language.meaning import Meaning
from textdiff_monai.language.rules import section
from textdiff_monai.pretraining import general
from textdiff_monai.pretraining.card import card, figures
from textdiff_monai.pretraining.knowledge import knowledge
from textdiff_monai.pretraining.readout import Readout, pooled, read, truths
from textdiff_monai.pretraining.vocabulary import save, tokenizer_of, trim

_SAVE = 256  # steps
_BUCKET = 16  # batches sorted by length together; divides _SAVE
_MEDICAL = 2500  # words of the vocabulary nearest to medical ones, kept beside those of the grammar
_KEEP = 2.0  # weight of staying near the original


def train_text_encoder(
    start: str | Path,
    folder: str | Path,
    steps: int = 5000,
    seed: int = 0,
    *,
    batch_size: int = 16,
    general_size: int = 4,
    learning_rate: float = 1e-4,
    vocabulary_size: int = 12_000,
    held_out: int = 200,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a BERT on the meaning of the grammar's sentences and save it, in half precision and with a model card.

    A training that was stopped goes on from ``folder/training.pt``, which goes once it is over.

    Args:
        start: a folder with the encoder to start from, ``all-MiniLM-L6-v2``'s for the one that ships.
        folder: the new Hugging Face folder.
        steps: optimizer steps, a twentieth of them warm-up, then linear decay to zero.
        seed: of the sentences, dropout and read-outs.
        batch_size: sentences with a meaning a step.
        general_size: sentences without, on which the embeddings have to stay what they were.
        learning_rate: AdamW's highest.
        vocabulary_size: tokens to keep.
        held_out: texts of each kind to measure with.
        progress: show a progress bar.

    Returns:
        What :func:`~textdiff_monai.pretraining.card.figures` measured, and ``losses``, the loss of every step since
        training was started or taken up again.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    original = AutoModel.from_pretrained(start, add_pooling_layer=False).float().eval()
    original_tokenizer = AutoTokenizer.from_pretrained(start)
    model, tokenizer = smaller(original, original_tokenizer, vocabulary_size)
    ranks = original_tokenizer.get_vocab()
    words = [word for word in tokenizer.get_vocab() if word.isalpha() and len(word) > 2]
    words.sort(key=lambda word: ranks[word])
    model.eval()  # sentences never repeat for long: dropout would only blur what is kept of the original
    readout = Readout(model.config.hidden_size)
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *readout.parameters()], lr=learning_rate, weight_decay=0.01, fused=True
    )
    schedule = get_linear_schedule_with_warmup(optimizer, max(1, steps // 20), steps)
    parts = {"model": model, "readout": readout, "optimizer": optimizer, "schedule": schedule}
    options = {"steps": steps, "seed": seed, "batch_size": batch_size, "general_size": general_size}
    done, spent = _resume(folder / "training.pt", parts, rng, options)
    losses: list[float] = []
    batches: list[list[tuple[str, Meaning]]] = []
    bar = tqdm(range(done, steps), initial=done, total=steps, desc="text encoder", disable=not progress, mininterval=10)
    for step in bar:
        batches = batches or _batches(rng, batch_size)
        drawn = batches.pop()
        neutral = [general.draw(words, rng) for _ in range(general_size)]
        told = tokenize(tokenizer, [text for text, _ in drawn])
        ours, theirs = tokenize(tokenizer, neutral), tokenize(original_tokenizer, neutral)
        same = general.identical([*map(tokenizer.tokenize, neutral)], [*map(original_tokenizer.tokenize, neutral)])
        with torch.autocast("cpu", torch.bfloat16):
            hidden, kept = model(**told).last_hidden_state, model(**ours).last_hidden_state
            with torch.no_grad():
                was = original(**theirs).last_hidden_state
        meaning = readout.loss(hidden.float(), told["attention_mask"], truths([said for _, said in drawn]))
        stay = general.distance(kept.float(), ours["attention_mask"], was.float(), theirs["attention_mask"], same)
        loss = meaning + _KEEP * stay
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        bar.set_postfix(meaning=f"{meaning.item():.3f}", kept=f"{stay.item():.3f}", refresh=False)
        if (step + 1) % _SAVE == 0 and step + 1 < steps:
            _keep(folder / "training.pt", parts, rng, options, step + 1, spent + time.process_time())
    measured = figures(lambda texts: _answer(model, tokenizer, readout, texts), texts=held_out)
    measured |= knowledge(partial(embed, model, tokenizer), partial(embed, original, original_tokenizer))
    made = {
        "steps": steps,
        "seed": seed,
        "batch": batch_size,
        "general": general_size,
        "minutes": (spent + time.process_time()) / 60,
    }
    counted = {"parameters": sum(p.numel() for p in model.parameters()), "vocabulary": len(tokenizer)}
    save(model, tokenizer, folder)
    (folder / "README.md").write_text(card(measured, **made, **counted), encoding="utf-8")
    (folder / "training.pt").unlink(missing_ok=True)
    return measured | {"losses": losses}


def _batches(rng: np.random.Generator, size: int) -> list[list[tuple[str, Meaning]]]:
    """Batches of sentences of similar length, so that little is padding, in random order."""
    drawn = sorted((grammar.draw(rng) for _ in range(_BUCKET * size)), key=lambda told: len(told[0]))
    return [drawn[size * index : size * (index + 1)] for index in rng.permutation(_BUCKET)]


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """A padded batch: ``input_ids`` and ``attention_mask`` (B, L)."""
    batch = tokenizer(list(texts), truncation=True, padding=True, return_tensors="pt")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


@torch.no_grad()
def embed(model: BertModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> torch.Tensor:
    """Means of the tokens (B, D)."""
    batches = (tokenize(tokenizer, texts[at : at + 500]) for at in range(0, len(texts), 500))
    return torch.cat([pooled(model(**batch).last_hidden_state, batch["attention_mask"]) for batch in batches])


@torch.no_grad()
def smaller(
    model: BertModel, tokenizer: PreTrainedTokenizerBase, size: int
) -> tuple[BertModel, PreTrainedTokenizerBase]:
    """The encoder with the tokens of the grammar, those nearest to medical words, and the most common ones."""
    vocabulary = tokenizer.get_vocab()
    known = sorted(vocabulary, key=lambda token: vocabulary[token])
    texts = [*islice(grammar.sentences(2**32), 20_000), *section("general")["m"]]
    grammatical = sorted({token for ids in tokenizer(texts)["input_ids"] for token in ids})
    wanted = [known[index] for index in grammatical]
    words = [word for word in known if word.isalpha() and len(word) > 2]

    medical = normalize(embed(model, tokenizer, section("general")["m"]), dim=1).mean(0)
    nearest = (normalize(embed(model, tokenizer, words), dim=1) @ medical).argsort(descending=True)[:_MEDICAL]
    trimmed, tokens = trim(model, known, [*wanted, *(words[index] for index in nearest.tolist())], size)
    return trimmed, tokenizer_of(tokens, trimmed.config.max_position_embeddings)


@torch.no_grad()
def _answer(
    model: BertModel, tokenizer: PreTrainedTokenizerBase, readout: Readout, texts: Sequence[str]
) -> torch.Tensor:
    """Answers (B, Q) read from the mean of the tokens."""
    answers = []
    for at in range(0, len(texts), 100):
        batch = tokenize(tokenizer, texts[at : at + 100])
        answers.append(read(readout(model(**batch).last_hidden_state, batch["attention_mask"])[1]))
    return torch.cat(answers)


def _keep(
    path: Path, parts: dict[str, Any], rng: np.random.Generator, options: dict[str, int], step: int, seconds: float
) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"step": step, "seconds": seconds, "rng": rng.bit_generator.state, "torch_rng": torch.get_rng_state()}
    state["options"] = options
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def _resume(path: Path, parts: dict[str, Any], rng: np.random.Generator, options: dict[str, int]) -> tuple[int, float]:
    """Steps and CPU seconds that were done before, with the same options."""
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    if other := changed(state["options"], options):
        raise ValueError(f"{path} began with {other}; use the same options, or choose another folder")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    rng.bit_generator.state = state["rng"]
    torch.set_rng_state(state["torch_rng"])
    return int(state["step"]), float(state["seconds"])

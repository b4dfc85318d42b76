"""The text encoder that ships: what it learns, that it goes on where it was stopped, and no unknown tokens."""

from __future__ import annotations

import csv
import os
import re
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from textdiff_monai import bundle_root
from textdiff_monai.language.chest import describe
from textdiff_monai.language.grammar import TARGETS, sentences
from textdiff_monai.language.meaning import ALL_FINDINGS
from textdiff_monai.pretraining import language
from textdiff_monai.pretraining.language import train_text_encoder
from textdiff_monai.pretraining.vocabulary import characters, tokenizer_of

TINY = {"batch_size": 8, "general_size": 2, "learning_rate": 1e-2, "vocabulary_size": 1500, "held_out": 4}
CAPTIONS = [
    describe(ALL_FINDINGS),
    "Bilateral pulmonary infection, two infected areas, upper left lung and upper right lung.",
    "The nuclei density in the upper right is high.",
    "Segment the left lung.",
]
FOREIGN = [
    "Retrocardiac consolidation; SpO2 88 % on 4 L/min (ETT 3-4 cm above the carina)!",
    "Verschattung im linken Unterlappen, größer als zuvor.",
    "Opacité du lobe supérieur gauche, œdème, 38,5 °C \u2013 “nouveau”…",
    "Łódź, Åse Bjørn, žlutý kůň, ß, µm, ±2, ≥3",
    "x" * 300,
]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A BERT of random weights with a vocabulary of letters and the grammar's words."""
    folder = tmp_path_factory.mktemp("start")
    texts = " ".join(islice(sentences(5), 500)).lower().split()
    words = sorted({word for word in texts if word.isalpha() and word.isascii() and len(word) > 1})
    tokenizer = tokenizer_of([*characters(), *words])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes), add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    return folder, train_text_encoder(start, folder, steps=32, **TINY, progress=False)


@pytest.fixture(scope="module")
def tokenizer(trained):
    return AutoTokenizer.from_pretrained(trained[0])


def test_the_loss_goes_down(trained):
    losses = trained[1]["losses"]
    assert len(losses) == 32
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_the_folder_loads_with_the_auto_classes_and_without_missing_weights(trained, tokenizer):
    model, loading = AutoModel.from_pretrained(
        trained[0], add_pooling_layer=False, output_loading_info=True, dtype=torch.float32
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert len(tokenizer) == model.config.vocab_size <= TINY["vocabulary_size"]
    with torch.no_grad():
        hidden = model(**tokenizer(CAPTIONS, padding=True, return_tensors="pt")).last_hidden_state
    assert hidden.shape[::2] == (len(CAPTIONS), 32)
    assert hidden.isfinite().all()
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 256


@pytest.mark.parametrize("text", [*CAPTIONS, *FOREIGN])
def test_no_text_in_latin_letters_gives_an_unknown_token(tokenizer, text):
    assert tokenizer.unk_token_id not in tokenizer(text, truncation=True)["input_ids"]


def test_case_and_accents_do_not_matter(tokenizer):
    assert tokenizer.tokenize("LEFT Lûng") == tokenizer.tokenize("left lung") == ["left", "lung"]


def test_a_text_starts_with_cls_and_ends_with_sep(tokenizer):
    assert tokenizer.decode(tokenizer("left")["input_ids"]) == "[CLS] left [SEP]"


def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(start, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(language, "_SAVE", 16)

    def stop(*arguments):
        keep(*arguments)
        raise KeyboardInterrupt

    keep = language._keep
    monkeypatch.setattr(language, "_keep", stop)
    with pytest.raises(KeyboardInterrupt):
        train_text_encoder(start, tmp_path, steps=32, **TINY, progress=False)
    monkeypatch.setattr(language, "_keep", keep)
    assert (tmp_path / "training.pt").exists()
    with pytest.raises(ValueError, match=r"began with seed 0 \(now 1\); use the same options"):
        train_text_encoder(start, tmp_path, steps=32, seed=1, **TINY, progress=False)
    again = train_text_encoder(start, tmp_path, steps=32, **TINY, progress=False)
    assert again["losses"] == trained[1]["losses"][16:]
    assert not (tmp_path / "training.pt").exists()
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (trained[0] / name).read_bytes()


def test_the_model_card_says_how_to_make_it_again_and_how_well_it_does(trained):
    folder, figures = trained
    card = (folder / "README.md").read_text()
    assert "textdiff pretrain-text FOLDER --start MINILM_FOLDER --steps 32 --seed 0" in card
    for kind, (every, _) in figures["zones"].items():
        assert f"| {kind} | {every:.3f}" in card


def test_the_tokenizer_class_is_one_that_older_transformers_know(trained):
    assert '"PreTrainedTokenizerFast"' in (trained[0] / "tokenizer_config.json").read_text()


SHIPPED = Path(__file__).parents[2] / "bundle" / "models" / "text_encoder"


@pytest.mark.skipif(not (SHIPPED / "model.safetensors").exists(), reason="the text encoder is not in this checkout")
def test_the_shipped_encoder_is_small_and_tells_the_sides_apart():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 32e6
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    model = AutoModel.from_pretrained(SHIPPED, add_pooling_layer=False, dtype=torch.float32)
    hidden = []
    for side in ("left", "right"):
        text = f"Unilateral pulmonary infection, one infected area, upper {side} lung."
        with torch.no_grad():
            hidden.append(model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0])
    similarity = torch.cosine_similarity(*hidden)
    assert similarity.min() < 0.9  # the token of the side itself
    assert similarity.max() < 0.9999  # and all others know of it
    assert not any(tokenizer.unk_token_id in tokenizer(text)["input_ids"] for text in islice(sentences(9), 200))


@pytest.mark.realdata
def test_no_caption_of_the_real_data_gives_an_unknown_token():
    if "TEXTDIFF_DATA" not in os.environ:
        pytest.skip("TEXTDIFF_DATA does not name a folder of real data")
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    tables = sorted(Path(os.environ["TEXTDIFF_DATA"]).glob("*/*.csv"))
    assert tables
    for table in tables:
        with open(table, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for column in {"text", "caption", "report"} & row.keys():
                    assert tokenizer.unk_token_id not in tokenizer(row[column], truncation=True)["input_ids"], row[
                        column
                    ]


def test_the_shipped_card_counts_the_targets_of_its_training_and_names_those_that_came_later():
    card = " ".join(Path(bundle_root(), "models", "text_encoder", "README.md").read_text().split())
    count, later = re.search(
        r"which of (\d+) targets \(all that the rules had then; (.+?) were added later\)", card
    ).groups()
    assert set(later.split(", ")) <= set(TARGETS)
    assert int(count) + len(later.split(", ")) == len(TARGETS)

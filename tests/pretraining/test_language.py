"""The text encoder that ships: trained from sentences alone, loadable as any other, no unknown tokens."""

from __future__ import annotations

import csv
import os
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from textdiff_monai.phantoms.grammar import ALL_FINDINGS, describe, sentences
from textdiff_monai.pretraining.language import train_text_encoder

TINY = {"steps": 30, "batch_size": 8, "hidden_size": 32, "layers": 1, "learning_rate": 1e-2}
TINY |= {"vocabulary_texts": 2000, "held_out": 40}
CAPTIONS = [
    describe(ALL_FINDINGS),
    "Bilateral pulmonary infection, two infected areas, upper left lung and upper right lung.",
    "Unilateral pulmonary infection, three infected areas, upper middle lower right lung.",
    "The nuclei density in the upper right is high.",
    "The nuclei density is higher around.",
    "The nuclei are evenly distributed.",
    "The nuclei are irregularly distributed.",
    "The nuclei are sparsely distributed.",
]
FOREIGN = [
    "Retrocardiac consolidation; SpO2 88 % on 4 L/min (ETT 3-4 cm above the carina)!",
    "Verschattung im linken Unterlappen, größer als zuvor.",
    "Opacité du lobe supérieur gauche, œdème, 38,5 °C \u2013 “nouveau”…",
    "Łódź, Åse Bjørn, žlutý kůň, ß, µm, ±2, ≥3",
    "x" * 300,
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    return folder, train_text_encoder(folder, **TINY, progress=False)


@pytest.fixture(scope="module")
def tokenizer(trained):
    return AutoTokenizer.from_pretrained(trained[0])


def test_the_loss_goes_down(trained):
    losses = trained[1]["losses"]
    assert len(losses) == TINY["steps"]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_the_folder_loads_with_the_auto_classes_and_without_missing_weights(trained, tokenizer):
    model, loading = AutoModel.from_pretrained(trained[0], add_pooling_layer=False, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    with torch.no_grad():
        hidden = model(**tokenizer(CAPTIONS, padding=True, return_tensors="pt")).last_hidden_state
    assert hidden.shape[::2] == (len(CAPTIONS), TINY["hidden_size"])
    assert hidden.isfinite().all()
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 256


@pytest.mark.parametrize("text", [*CAPTIONS, *FOREIGN])
def test_no_text_in_latin_letters_gives_an_unknown_token(tokenizer, text):
    assert tokenizer.unk_token_id not in tokenizer(text, truncation=True)["input_ids"]


@pytest.mark.parametrize("text", CAPTIONS)
def test_the_words_of_captions_are_whole_tokens(tokenizer, text):
    assert " ".join(tokenizer.tokenize(text)) == text.lower().replace(",", " ,").replace(".", " .")


def test_case_and_accents_do_not_matter(tokenizer):
    assert tokenizer.tokenize("LEFT Lûng") == tokenizer.tokenize("left lung") == ["left", "lung"]


def test_a_text_starts_with_cls_and_ends_with_sep(tokenizer):
    assert tokenizer.decode(tokenizer("left")["input_ids"]) == "[CLS] left [SEP]"


def test_the_same_seed_gives_the_same_weights_and_vocabulary_and_leaves_the_generator_alone(trained, tmp_path):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    figures = train_text_encoder(tmp_path, **TINY, progress=False)
    assert torch.equal(state, torch.get_rng_state())
    assert figures["losses"] == trained[1]["losses"]
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (trained[0] / name).read_bytes()


def test_the_model_card_says_how_to_make_it_again_and_how_well_it_does(trained):
    folder, figures = trained
    card = (folder / "README.md").read_text()
    assert f"textdiff pretrain-text FOLDER --steps {TINY['steps']} --seed 0" in card
    assert f"{figures['accuracy']:.3f}" in card
    assert f"{figures['baseline']:.3f}" in card


def test_the_tokenizer_class_is_one_that_older_transformers_know(trained):
    assert '"PreTrainedTokenizerFast"' in (trained[0] / "tokenizer_config.json").read_text()


SHIPPED = Path(__file__).parents[2] / "bundle" / "models" / "text_encoder"


@pytest.mark.skipif(not (SHIPPED / "model.safetensors").exists(), reason="the text encoder is not in this checkout")
def test_the_shipped_encoder_is_small_and_tells_the_sides_apart():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 5e6
    tokenizer, model = (
        AutoTokenizer.from_pretrained(SHIPPED),
        AutoModel.from_pretrained(SHIPPED, add_pooling_layer=False),
    )
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
def test_no_caption_of_the_real_data_gives_an_unknown_token(tokenizer):
    if "TEXTDIFF_DATA" not in os.environ:
        pytest.skip("TEXTDIFF_DATA does not name a folder of real data")
    tables = sorted(Path(os.environ["TEXTDIFF_DATA"]).glob("*/*.csv"))
    assert tables
    for table in tables:
        with open(table, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for column in {"text", "caption", "report"} & row.keys():
                    assert tokenizer.unk_token_id not in tokenizer(row[column], truncation=True)["input_ids"], row[
                        column
                    ]

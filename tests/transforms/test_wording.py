"""Captions that vary: another wording of the same meaning, and denials with empty masks."""

from __future__ import annotations

import pytest
import torch

from textdiff_monai.language.reader import read
from textdiff_monai.transforms.wording import RandTextd, RandWordingd

CHEST = "Unilateral pulmonary infection, one infected area, upper left lung."


def item(text: str) -> dict:
    return {"text": text, "label": torch.ones(1, 4, 4)}


def drawn(transform, data: dict, count: int = 60) -> list[dict]:
    transform.set_random_state(0)
    return [transform(data) for _ in range(count)]


def test_an_understood_caption_gets_many_wordings_and_keeps_its_mask():
    results = drawn(RandWordingd(prob=1, deny=0), item(CHEST))
    assert len({result["text"] for result in results}) > 40
    assert all(result["label"].all() for result in results)
    assert not any("right lung" in result["text"] and "left" not in result["text"] for result in results)


def test_a_denial_empties_the_mask():
    results = drawn(RandWordingd(prob=0, deny=1), item(CHEST))
    assert len({result["text"] for result in results}) > 20
    assert not any(result["label"].any() for result in results)


@pytest.mark.parametrize("text", ["Segment the left lung.", "", "An opacity that nobody described before."])
def test_what_cannot_be_denied_keeps_its_mask(text):
    assert all(result["label"].all() for result in drawn(RandWordingd(prob=0.5, deny=1), item(text), 20))


def test_a_caption_that_is_not_understood_keeps_what_says_where():
    text = "Diffuse shadowing everywhere, mostly left-sided. Right base clear, effusion absent. No pneumothorax."
    results = {result["text"] for result in drawn(RandWordingd(prob=1, deny=0, thin=0.5), item(text))}
    assert len(results) > 5
    for result in results:
        assert {"left-sided.", "Right", "base", "clear,", "absent.", "No"} <= set(result.split())
        assert set(result.split()) <= set(text.split())


@pytest.mark.parametrize("text", ["Segment the tumour core.", "Segment the anterior hippocampus."])
def test_a_caption_of_a_few_words_keeps_all_of_them(text):
    """Without one it would ask for something else, or for nothing."""
    assert {result["text"] for result in drawn(RandWordingd(prob=1, deny=0, thin=0.9), item(text))} == {text}


@pytest.mark.parametrize("word", ["anterior", "medial", "behind", "temporal", "inner", "second"])
def test_what_says_where_is_kept_in_long_captions_too(word):
    text = f"Please mark with great care the {word} portion of that strange bright thing."
    assert all(word in result["text"] for result in drawn(RandWordingd(prob=1, deny=0, thin=0.9), item(text)))


def test_sentences_change_places_whole():
    text = "Consolidation at the Rt. base, approx. 3 cm. No effusion."
    results = {result["text"] for result in drawn(RandWordingd(prob=1, deny=0, thin=0), item(text))}
    assert results == {text, "No effusion. Consolidation at the Rt. base, approx. 3 cm."}


def test_the_same_state_draws_the_same_and_no_probability_changes_nothing():
    first, again = (drawn(RandWordingd(), item(CHEST), 10) for _ in range(2))
    assert [one["text"] for one in first] == [one["text"] for one in again]
    assert {one["text"] for one in drawn(RandWordingd(prob=0, deny=0), item(CHEST))} == {CHEST}


def test_one_of_several_texts_is_drawn():
    data = {"text": "one", "text_2": "two", "text_3": "", "text_location": "no", "id": "x"}
    assert {result["text"] for result in drawn(RandTextd(), data)} == {"one", "two"}
    assert {result["text"] for result in drawn(RandTextd(), {"text": "", "text_2": "two"})} == {"two"}
    assert RandTextd()({"text": ""})["text"] == ""


def test_meanings_are_read_only_where_every_word_is_known():
    assert read(CHEST).found
    assert read("Segment both lungs.").side == "both"
    assert read("Soft exudates in a fundus photograph.").target == "soft exudates"
    assert (read("The nuclei density in the upper right is high.").side, read("Segment all nuclei.").side) == (
        "right",
        "",
    )
    for text in ["", "Segment the small left lung.", "Breast ultrasound lesion: oval shape.", "upper left lung, maybe"]:
        assert read(text) is None

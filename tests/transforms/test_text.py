"""Sentences on their way to the network, and what is said of those that may not be understood."""

from __future__ import annotations

import warnings

import pytest
import torch
from monai.data import MetaTensor

from textdiff_monai import TextToMetad, captions_facts

FACTS = captions_facts([{"text": "Segment the left lung."}, {"text": "Segment the right lung."}])


def item(text):
    return {"image": MetaTensor(torch.zeros(3, 4, 4)), "text": text}


@pytest.mark.parametrize(("given", "read"), [("left", "left"), (None, ""), (3, "3"), ("a\ud800", "a?")])
def test_whatever_comes_is_a_sentence(given, read):
    assert TextToMetad()(item(given))["image"].meta["text"] == read


def test_a_sentence_that_may_not_be_understood_is_one_warning_that_does_not_quote_it():
    transform = TextToMetad(facts=FACTS, vocabulary={"mister"})
    with pytest.warns(UserWarning, match="unknown words: flurb") as seen:
        found = [transform(item("Mister X, flurb in the left lung"))["image"].meta["doubt"] for _ in range(2)]
    assert found == ["unknown words: flurb"] * 2
    assert len(seen) == 1
    assert "left" not in str(seen[0].message)


def test_what_is_understood_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TextToMetad(facts=FACTS)(item("Outline the left lung."))["image"].meta["doubt"] == ""
        assert TextToMetad()(item("flurb"))["image"].meta["doubt"] == ""

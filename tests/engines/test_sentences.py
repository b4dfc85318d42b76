"""Sentences that a text encoder cannot read as they are: counted, named by their images, never printed."""

from __future__ import annotations

import warnings

import pytest

from textdiff_monai import TextEncoder, bundle_root, check_sentences


def items(*texts):
    return [{"image": f"{number}.png", "text": text} for number, text in enumerate(texts)]


def test_sentences_that_are_cut_are_counted_once(bert_folder):
    long, longer = "left right " * 20, "upper lower " * 30
    with pytest.warns(UserWarning, match=r"2 of 3 sentences are longer than the 24 tokens that are read") as caught:
        check_sentences(items("left lung", long, longer, long, ""), TextEncoder(bert_folder))
    (warning,) = caught
    assert "(up to 62) and are truncated; those of 1.png, 2.png" in str(warning.message)
    assert "upper" not in str(warning.message)


def test_words_that_the_tokenizer_does_not_know_are_counted(bert_folder):
    with pytest.warns(UserWarning, match=r"1 of 2 sentences have words that the text encoder does not know \(2 in all"):
        check_sentences(items("left lung", "left 肺 lung 肺"), TextEncoder(bert_folder))


@pytest.mark.parametrize(
    "text",
    ["Kleiner Herd im rechten Unterlappen, Zellkerne gleichmäßig verteilt.", "Infección en el pulmón izquierdo."],
)
def test_another_language_is_said(text):
    encoder = TextEncoder(f"{bundle_root()}/models/text_encoder")
    with pytest.warns(UserWarning, match="the text encoder knows only .*; the shipped one reads English"):
        check_sentences(items(text), encoder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sentences(
            items("Blunted left costophrenic angle, retrocardiac airspace opacity; no pneumothorax."), encoder
        )


def test_sentences_that_are_read_whole_are_no_warning(bert_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sentences([*items("left lung", ""), {"image": "x.png"}], TextEncoder(bert_folder))

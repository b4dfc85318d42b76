"""What gives reason to doubt that a sentence is understood."""

from __future__ import annotations

import pytest

from textdiff_monai.language.lexicon import captions_facts, doubt, grammar_words, words_in

LUNGS = captions_facts([{"text": "Segment the left lung."}, {"text": "Segment both lungs."}, {"text": ""}])
CHEST = captions_facts([{"text": "One infected area, upper left lung."}, {"text": "No pulmonary infection."}])


def test_facts_hold_words_and_targets_of_the_captions():
    assert LUNGS == {"words": ["both", "left", "lung", "lungs", "segment", "the"], "targets": ["lung"]}
    assert CHEST["targets"] == ["lung opacity"]


def test_a_word_that_only_one_caption_has_may_be_a_name_and_is_not_kept():
    facts = captions_facts([{"text": "Mrs Quimby, left lung."}, {"text": "Mr Quux, left lung."}])
    same = [{"image": "a", "text": "Quimby, left lung"}, {"image": "a", "text": "Quimby, right lung"}]
    assert "quimby" not in captions_facts(same)["words"]
    later = [{"image": name, "patient": "7", "text": f"Quimby, {name} lung"} for name in ("left", "right")]
    assert "quimby" not in captions_facts(later)["words"]
    assert "flurb" in captions_facts([{"image": name, "text": "the flurb"} for name in "ab"])["words"]
    assert "left" in facts["words"]
    assert not {"quimby", "quux"} & set(facts["words"])


@pytest.mark.parametrize("text", ["", "Outline the right lung field.", "lt lung", "Segment the left lung, 3 mm"])
def test_what_the_captions_or_the_grammar_say_is_not_doubted(text):
    assert doubt(text, LUNGS) == ""


@pytest.mark.parametrize(
    "text",
    [
        "GGO RUZ",
        "Infiltrat rechts oben",
        "opacité à droite",
        "left lung hazy",
        "hazy near the collarbone",
        "no consolidation at the bases",
    ],
)
def test_the_grammars_other_words_for_the_trained_target_are_not_doubted(text):
    assert doubt(text, CHEST) == ""


def test_unknown_words_are_named_unless_the_encoder_knows_them():
    assert doubt("the left flurb of the lung", LUNGS) == "unknown words: flurb"
    assert doubt("the left flurb of the lung", LUNGS, {"flurb"}) == ""


def test_a_sentence_without_a_target_of_the_training_is_doubted():
    assert doubt("Stable.", CHEST) == "it names nothing that the training captions name"
    assert doubt("Normal heart size.", CHEST) == "it asks for heart, which no training caption asks for"
    assert "asks for polyp" in doubt("is there a polyp?", LUNGS)
    assert "asks for lung" in doubt("Segment the left lung.", captions_facts([{"text": "Segment the lung nodule."}]))


def test_a_checkpoint_without_facts_doubts_nothing():
    assert doubt("flurb", {}) == ""


def test_words_are_lower_case_without_numbers_and_rules():
    assert words_in("The {side} Lung, 3 mm (RUL)") == ["the", "lung", "mm", "rul"]
    assert {"opacity", "lung", "kneecap"} <= grammar_words()

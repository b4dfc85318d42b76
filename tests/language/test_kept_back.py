"""Wordings that no training reads, and names likewise."""

from __future__ import annotations

import numpy as np
import pytest

from textdiff_monai.language import kept_back, structures
from textdiff_monai.language.grammar import sentences
from textdiff_monai.language.meaning import ALL_FINDINGS, Finding, Meaning
from textdiff_monai.language.reader import read
from textdiff_monai.language.rules import parse_sections, read_sections


@pytest.mark.parametrize("kind", kept_back.kinds())
def test_every_kind_says_what_is_found(kind):
    rng = np.random.default_rng(0)
    found = {Finding("left", "upper"), Finding("right", "lower")}
    told = [kept_back.say(kind, found, rng) for _ in range(40)]
    assert len({text for text, _ in told}) > 2
    for text, zones in told:
        assert not set("{}|") & set(text)
        assert zones == (frozenset() if kind == "absent" else found)


def test_every_kind_takes_every_zone_at_once():
    rng = np.random.default_rng(0)
    for kind in kept_back.kinds():
        assert kept_back.say(kind, ALL_FINDINGS, rng)[0]


@pytest.mark.parametrize("rule", ["frame", "clear", "contrast", "none"])
def test_what_training_says_is_worded_otherwise(rule):
    kept = {text for rules in kept_back.sections_of().values() for text in rules.get(rule, ())}
    assert kept
    for rules in read_sections("chest").values():
        assert not kept & set(rules.get(rule, ()))


def test_no_name_that_is_kept_back_is_among_the_trained_ones():
    targets = structures.read_targets().values()
    trained = {name for target in targets for name in target.names}
    kept = {name for target in targets for name in target.kept_back}
    assert len(kept) >= len(targets) - 1
    assert not trained & kept
    assert all(target.names and target.images for target in targets)


def test_a_target_is_asked_for_by_one_of_its_names():
    rng = np.random.default_rng(0)
    names = structures.read_targets()["patella"].names
    for _ in range(50):
        text = structures.say(Meaning("patella"), rng)
        assert any(name in text for name in names)


@pytest.mark.parametrize(
    ("caption", "kinds"),
    [
        ("Segment the left lung.", {"report", "request", "abbreviations", "lay", "denial"}),
        ("Segment both lungs.", {"report", "request", "abbreviations", "lay"}),
        ("Segment the nuclei in the upper left.", {"report", "request", "abbreviations", "lay"}),
        ("Soft exudates in a fundus photograph.", {"report", "request", "abbreviations", "lay", "names", "denial"}),
        ("One infected area, upper left lung.", set(kept_back.kinds())),
    ],
)
def test_every_sort_of_caption_is_asked_in_the_kinds_it_can_have(caption, kinds):
    rng = np.random.default_rng(0)
    told = {kind: kept_back.reword(kind, read(caption), caption, rng) for kind in kept_back.every_kind()}
    assert {kind for kind, asked in told.items() if asked} == kinds
    for kind, asked in told.items():
        assert asked is None or (asked[1] == (kind != "absent") and not set("{}|") & set(asked[0]))


def test_a_structure_is_asked_for_by_the_name_that_the_caption_has_or_by_one_kept_back():
    rng = np.random.default_rng(0)
    caption = "Soft exudates in a fundus photograph."
    assert "soft exudates" in kept_back.reword("request", read(caption), caption, rng)[0].lower()
    names = structures.read_targets()["soft exudates"].kept_back
    told = kept_back.reword("names", read(caption), caption, rng)[0].lower()
    assert any(name in told for name in names)


def test_a_file_of_rules_that_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="'no section'"):
        parse_sections("no section")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("look at {foo} in {places}", "'frame' needs a rule that does not exist: 'foo'"),
        ("see {frame}", "'frame' leads back to itself"),
        ("see {places", "'frame': expected '}'"),
        ("see {}", "'frame': Format string"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_named(frame, message):
    sections, rng = parse_sections(f"[mine]\nframe = {frame}"), np.random.default_rng(0)
    with pytest.raises(ValueError, match=message):
        kept_back.say("mine", [Finding("left", "upper")], rng, sections)


def test_the_sentences_do_not_hold_what_is_kept_back():
    text = " ".join(text for text, _ in zip(sentences(3), range(3000), strict=False))
    assert "milky smudge" not in text
    assert "halfway down" not in text

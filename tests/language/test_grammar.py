"""Sentences with their meaning: seeded, consistent, and covering the captions of the data sets in use."""

from __future__ import annotations

import re
from itertools import chain, combinations, islice

import numpy as np
import pytest

from textdiff_monai.language import histology
from textdiff_monai.language.chest import STYLES, describe, say, trained
from textdiff_monai.language.grammar import TARGETS, draw, draw_zones, misspelt, sentences
from textdiff_monai.language.meaning import ALL_FINDINGS, NUCLEI, OPACITY, Finding, Meaning

CAPTIONS = [
    "Bilateral pulmonary infection, two infected areas, upper left lung and upper right lung.",
    "Unilateral pulmonary infection, one infected area, lower left lung.",
    "The nuclei density in the upper right is high.",
    "The nuclei density in the left is high.",
    "The nuclei density is higher around.",
    "The nuclei are evenly distributed.",
    "The nuclei are irregularly distributed.",
    "The nuclei are sparsely distributed.",
    "Segment the left lung.",
    "Segment both lungs.",
]
ALL_SETS = list(chain.from_iterable(combinations(ALL_FINDINGS, count) for count in range(7)))


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+|[^\w\s]", text.lower()))


@pytest.fixture(scope="module")
def drawn() -> list[tuple[str, Meaning]]:
    rng = np.random.default_rng(0)
    return [draw(rng) for _ in range(12_000)]


@pytest.fixture(scope="module")
def vocabulary(drawn) -> set[str]:
    return words(" ".join(text for text, _ in drawn))


def test_the_same_seed_gives_the_same_sentences_and_another_seed_others(drawn):
    assert list(islice(sentences(0), 50)) == [text for text, _ in drawn[:50]]
    assert list(islice(sentences(1), 50)) != [text for text, _ in drawn[:50]]


def test_sentences_hardly_repeat(drawn):
    assert len({text for text, _ in drawn}) > 0.9 * len(drawn)


def test_every_rule_is_expanded(drawn):
    for text, _ in drawn:
        assert text
        assert not set("{}|=") & set(text)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_the_sentences_hold_every_word_of_the_published_captions(vocabulary, caption):
    assert words(caption) <= vocabulary


def test_every_target_and_every_set_of_zones_is_spoken_of(drawn):
    assert {meaning.target for _, meaning in drawn} == set(TARGETS)
    assert {meaning.found for _, meaning in drawn} == {frozenset(chosen) for chosen in ALL_SETS}
    assert not any(meaning.found & meaning.free for _, meaning in drawn)


def test_the_side_of_nuclei_is_named():
    rng = np.random.default_rng(0)
    for side in ("left", "right"):
        for _ in range(100):
            assert side in words(histology.say(Meaning(NUCLEI, side=side, level="upper"), rng))


def test_every_set_of_findings_has_a_caption_of_its_own():
    assert len({describe(findings) for findings in ALL_SETS}) == 64


def test_the_caption_names_laterality_count_and_zones():
    findings = [Finding("right", "lower"), Finding("left", "lower"), Finding("left", "upper")]
    assert describe(findings) == (
        "Bilateral pulmonary infection, three infected areas, upper lower left lung and lower right lung."
    )
    assert describe(findings[:1]) == "Unilateral pulmonary infection, one infected area, lower right lung."
    assert describe([]) == "No pulmonary infection."


def test_free_wordings_of_one_lung_name_its_side_and_only_that():
    rng = np.random.default_rng(0)
    for findings in ALL_SETS[1:]:
        sides = {finding.side for finding in findings}
        for _ in range(10):
            named = words(describe(findings, rng)) & {"left", "right"}
            assert named == sides or (len(sides) == 2 and named <= sides)


def test_free_wordings_depend_on_the_generator_alone():
    first, again = (describe(ALL_FINDINGS, np.random.default_rng(5)) for _ in range(2))
    assert first == again
    assert len({describe(ALL_FINDINGS, np.random.default_rng(seed)) for seed in range(20)}) > 10


@pytest.mark.parametrize("style", STYLES)
def test_every_style_says_what_is_found_and_what_is_free(style):
    rng = np.random.default_rng(0)
    told = {say(*draw_zones(rng), trained(style), rng) for _ in range(300)}
    assert len(told) > 200
    assert not any(set("{}|") & set(text) for text in told)


def test_a_denial_finds_nothing(drawn):
    denied = [meaning for _, meaning in drawn if meaning.target == OPACITY and not meaning.present]
    assert denied
    assert not any(meaning.found for meaning in denied)


def test_a_slip_of_the_pen_changes_two_letters_at_most():
    rng = np.random.default_rng(0)
    for _ in range(100):
        slipped = misspelt("opacity in the left lung", rng)
        assert abs(len(slipped) - len("opacity in the left lung")) <= 1
        assert set(slipped) <= set("opacity in the left lung")


def test_mirroring_a_finding_keeps_its_zone():
    assert Finding("left", "upper").mirrored == Finding("right", "upper")


def test_an_unknown_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        Finding("left", "top")

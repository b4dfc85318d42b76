"""Sentences: seeded, consistent, and covering the captions of the data sets in use."""

from __future__ import annotations

import re
from itertools import chain, combinations, islice

import numpy as np
import pytest

from textdiff_monai.phantoms.grammar import ALL_FINDINGS, Finding, describe, sentences

CAPTIONS = [
    "Bilateral pulmonary infection, two infected areas, upper left lung and upper right lung.",
    "Unilateral pulmonary infection, one infected area, lower left lung.",
    "The nuclei density in the upper right is high.",
    "The nuclei density in the left is high.",
    "The nuclei density is higher around.",
    "The nuclei are evenly distributed.",
    "The nuclei are irregularly distributed.",
    "The nuclei are sparsely distributed.",
]
ALL_SETS = list(chain.from_iterable(combinations(ALL_FINDINGS, count) for count in range(7)))


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+|[^\w\s]", text.lower()))


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    return list(islice(sentences(0), 15_000))


@pytest.fixture(scope="module")
def vocabulary(corpus) -> set[str]:
    return words(" ".join(corpus))


def test_the_same_seed_gives_the_same_sentences_and_another_seed_others(corpus):
    assert list(islice(sentences(0), 50)) == corpus[:50]
    assert list(islice(sentences(1), 50)) != corpus[:50]


def test_sentences_hardly_repeat(corpus):
    assert len(set(corpus)) > 0.8 * len(corpus)


def test_every_rule_is_expanded_and_every_sentence_is_capitalised_and_ends(corpus):
    for text in corpus:
        assert not set("{}|=") & set(text)
        assert "  " not in text
        assert text[-1] in ".?"
        assert all(part[0].isupper() or part[0].isdigit() for part in re.split(r"(?<=[.?]) ", text))


@pytest.mark.parametrize("caption", CAPTIONS)
def test_the_sentences_hold_every_word_of_the_published_captions(vocabulary, caption):
    assert words(caption) <= vocabulary


@pytest.mark.parametrize("caption", CAPTIONS)
def test_the_published_captions_themselves_are_generated(corpus, caption):
    assert any(caption in text for text in corpus)


def test_every_set_of_findings_has_a_caption_of_its_own():
    assert len({describe(findings) for findings in ALL_SETS}) == 64


def test_the_caption_names_laterality_count_and_zones():
    findings = [Finding("right", "lower"), Finding("left", "lower"), Finding("left", "upper")]
    assert describe(findings) == (
        "Bilateral pulmonary infection, three infected areas, upper lower left lung and lower right lung."
    )
    assert describe(findings[:1]) == "Unilateral pulmonary infection, one infected area, lower right lung."
    assert describe([]) == "No pulmonary infection."


def test_free_wordings_name_the_affected_sides_and_only_those():
    rng = np.random.default_rng(0)
    for findings in ALL_SETS[1:]:
        sides = {finding.side for finding in findings}
        for _ in range(10):
            assert words(describe(findings, rng)) & {"left", "right"} == sides


def test_free_wordings_depend_on_the_generator_alone():
    first, again = (describe(ALL_FINDINGS, np.random.default_rng(5)) for _ in range(2))
    assert first == again
    assert len({describe(ALL_FINDINGS, np.random.default_rng(seed)) for seed in range(20)}) > 10


def test_reports_do_not_contradict_their_captions(corpus):
    for text in corpus:
        if "Bilateral pulmonary infection" in text:
            assert "unilateral" not in text.lower()
            assert not re.search(r"Only the|Both lungs are clear|one infected", text)
        elif "Unilateral pulmonary infection" in text:
            assert not re.search(r"Both lungs are (equally )?affected|Both lungs are clear", text)


def test_mirroring_a_finding_keeps_its_zone():
    assert Finding("left", "upper").mirrored == Finding("right", "upper")


def test_an_unknown_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        Finding("left", "top")

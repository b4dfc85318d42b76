"""What a text asks for, in a caption that is understood and in free words."""

from __future__ import annotations

import numpy as np
import pytest

from textdiff_monai.language import structures
from textdiff_monai.language.meaning import Meaning
from textdiff_monai.language.reader import name_of, target_of
from textdiff_monai.language.rules import section


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Segment the hard exudates.", "hard exudates"),
        ("Please mark any waxy exudates that you can see, but not the optic disc", "hard exudates"),
        ("is there a coin lesion in the left lung?", "lung nodule"),
        ("The left lung is clear.", "lung"),
        ("He has some MAs temporal of the macula", "microaneurysms"),
        ("he has none", ""),
        ("Bilateral pulmonary infection, two infected areas, upper left lung and upper right lung.", "lung opacity"),
        ("Outline each nucleus", "nuclei"),
        ("", ""),
        ("whatever is bright", ""),
        ("No haemorrhages. Hard exudates temporal to the fovea.", "hard exudates"),
        ("not the liver, but the spleen", "spleen"),
        ("No liver, only the spleen.", "spleen"),
        ("The heart is normal. Coin lesion in the right lung", "lung nodule"),
        ("The heart looks abnormal. No coin lesion", "heart"),
        ("Consolidation on the right, no pleural effusion, no pneumothorax", "lung opacity"),
        ("No change in the pleural effusion", "pleural effusion"),
        ("no polyp", "polyp"),
        ("Mark the exudates, not the optic disc", ""),
        ("PA and lateral views: opacity at the left base", "lung opacity"),
        ("Erect PA. Opacity at the left base", "lung opacity"),
        ("The PA next to the aorta", "pulmonary artery"),
        ("Fat in the left half", "fat tissue"),
        ("LİVER", ""),  # lower case has one letter more
    ],
)
def test_the_first_target_that_a_text_names_is_asked_for(text, target):
    assert target_of(text) == target


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Segment the left lung.", "left lung"),
        ("Right  lung fields only, please", "right lung"),
        ("Segment both lungs.", "lung"),
        ("Please outline the Left kidney", "left kidney"),
        ("the left atrium", "left atrium"),
        ("Segment the optic disc of the left eye.", "optic disc"),
        ("opacity in the right lung", "lung opacity"),
        ("whatever is bright on the left", ""),
    ],
)
def test_a_name_has_the_side_that_stands_before_it(text, name):
    assert name_of(text) == name


def test_of_two_targets_that_are_told_apart_the_one_that_is_asked_for_is_taken():
    rng, rules = np.random.default_rng(0), section("structures")
    rules = {**rules, "frame": rules["contrast"]}
    for meaning in (Meaning("hard exudates"), Meaning("aorta"), Meaning("patella")):
        for _ in range(60):
            text = structures.say(meaning, rng, (meaning.target,), rules)
            assert target_of(text) == meaning.target, text

"""What a text asks for, in a caption that is understood and in free words."""

from __future__ import annotations

import pytest

from textdiff_monai.language.reader import target_of


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
    ],
)
def test_the_first_target_that_a_text_names_is_asked_for(text, target):
    assert target_of(text) == target

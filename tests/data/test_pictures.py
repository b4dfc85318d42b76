"""Sheets of pictures can be read."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from textdiff_monai.data.pictures import sheet


def page(text, header=""):
    return np.asarray(sheet([header], [[(Image.new("RGB", (8, 8), "grey"), text)]]))


@pytest.mark.parametrize(("one", "other"), [("ä", "ö"), ("ß", "é"), ("ш", "λ")])
def test_letters_of_other_languages_are_told_apart(one, other):
    assert not np.array_equal(page(one), page(other))
    assert not np.array_equal(page("", one), page("", other))


def test_of_a_long_text_the_beginning_is_shown():
    assert page("left lung " * 500).shape == page("left lung " * 100).shape
    assert page("left lung " * 10).shape[0] < page("left lung " * 100).shape[0] < 512

"""Figures of words say what is drawn, and pictures have one scale."""

from __future__ import annotations

import numpy as np
import pytest

from textdiff_monai.data.words import WordEffect, agreement, word_rows, word_sheet, word_strip

MASK = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], np.uint8)


def effects():
    left, lung = np.full((2, 4), 0.1), np.full((2, 4), 0.2)
    left[0, :2] = 0.4
    half = MASK.copy()
    half[0, 0] = 0
    return [WordEffect("left", left, half), WordEffect("lung", lung, MASK), WordEffect("", 1 - left - lung, None)]


def test_a_word_has_its_shares_and_what_is_marked_without_it():
    left, lung, nothing = word_rows(effects(), MASK)
    assert left == {
        "number": 1,
        "word": "left",
        "attention": 0.175,
        "attention_in_mask": 0.4,
        "pixels": 1,
        "dice": 0.6667,
    }
    assert (lung["pixels"], lung["dice"]) == (2, 1.0)
    assert (nothing["number"], nothing["word"], nothing["pixels"], nothing["dice"]) == ("", "(no word)", "", "")
    assert sum(row["attention"] for row in (left, lung, nothing)) == pytest.approx(1)
    assert word_rows(effects(), 0 * MASK)[0]["attention_in_mask"] == ""


def test_masks_agree_where_the_class_is_the_same():
    assert agreement(MASK, MASK) == agreement(0 * MASK, 0 * MASK) == 1
    assert agreement(MASK, 2 * MASK) == agreement(MASK, 0 * MASK) == 0


def test_maps_are_drawn_in_one_scale():
    strip = np.asarray(word_strip(effects(), side=4)).sum(-1).astype(int)
    assert strip.shape == (2, 8)
    assert strip[0, 0] == strip.max() > 600  # light where the highest share is
    assert strip[0, 0] > strip[0, 4] > strip[1, 0]  # 0.4, 0.2 and 0.1
    assert word_strip(effects()).size == (160, 40)


def test_a_sheet_has_a_panel_for_the_mask_and_one_a_word():
    image = np.full((2, 4, 3), 100.0)
    sizes = [word_sheet([*effects()[:1] * words, effects()[-1]], image, MASK).size for words in (1, 3, 4, 5)]
    assert [width // 266 for width, _ in sizes] == [2, 4, 3, 3]
    assert [height // 256 for _, height in sizes] == [1, 1, 2, 2]

"""Which images are learned from, and how often."""

from __future__ import annotations

from collections import Counter

import pytest

from textdiff_monai import DataError, unlabelled_images


def test_a_table_tells_kinds_and_what_is_held_out(table):
    assert Counter(item["kind"] for item in unlabelled_images(table)) == {"a": 4, "b": 2}
    assert [item["kind"] for item in unlabelled_images(table, "val")] == ["a", "b"]


def test_a_table_of_image_names_is_enough(table):
    (table.parent / "names.csv").write_text("image\n0.png\n1.png\n")
    items = unlabelled_images([table.parent / "names.csv", table])
    assert [(item["source"], item["kind"]) for item in items[:3]] == [(0, ""), (0, ""), (1, "a")]
    assert unlabelled_images(table.parent / "names.csv", "val") == []


def test_a_source_without_images_to_learn_from_is_refused(table):
    (table.parent / "names.csv").write_text("image,split\n0.png,val\n1.png,test\n")
    with pytest.raises(DataError, match="no images to train on"):
        unlabelled_images(table.parent / "names.csv")


def test_the_validation_split_of_a_data_set_is_held_out(data_folder):
    parts = [{item["image"] for item in unlabelled_images(data_folder, part)} for part in ("train", "val")]
    assert all(parts)
    assert not parts[0] & parts[1]

"""The demonstration as shipped: the sentence decides, and everything promised is there."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from textdiff_monai.apps.demo import demo
from textdiff_monai.data.files import read_rows

KEYS = ["dice", "dice_without_text", "dice_wrong_text", "dice_swapped_text", "dice_swapped_text_and_mask"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["chest", "nuclei"])
def test_the_sentence_decides(kind, tmp_path, capfd):
    summary = demo(str(tmp_path / "demo"), kind)
    print(summary)
    assert summary == json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert list(summary) == [*KEYS, "dice_bound_without_text", "seconds"]
    wrong = max(summary[name] for name in ("dice_without_text", "dice_wrong_text", "dice_swapped_text"))
    assert summary["dice"] > wrong + 0.3
    assert summary["dice"] > summary["dice_bound_without_text"]
    assert summary["dice_swapped_text_and_mask"] > summary["dice_swapped_text"] + 0.3
    cases = read_rows(tmp_path / "demo" / "cases.csv")
    assert len(cases) == 24
    assert list(cases[0]) == ["id", "text", *KEYS]
    for name in KEYS:
        assert sum(float(case[name]) for case in cases) / 24 == pytest.approx(summary[name], abs=1e-4)
    assert min(Image.open(tmp_path / "demo" / "story.png").size) > 500
    assert (tmp_path / "demo" / "model.pt").exists()
    assert str(tmp_path / "demo") in capfd.readouterr().out


def test_an_existing_folder_is_left_alone(tmp_path):
    with pytest.raises(FileExistsError, match="choose another folder"):
        demo(str(tmp_path))

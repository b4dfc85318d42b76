"""The demonstration as shipped: the sentence decides, and everything promised is there."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from textdiff_monai.apps.demo import demo
from textdiff_monai.data.files import read_rows

KEYS = ["dice", "dice_without_text", "dice_wrong_text", "dice_swapped_text", "dice_swapped_text_and_mask"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("lungs", 72), ("chest", 24), ("nuclei", 24)])
def test_the_sentence_decides(kind, count, tmp_path, capfd):
    summary = demo(tmp_path / "demo", kind)
    print(summary)
    assert summary == json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert list(summary) == [*KEYS, "dice_bound_without_text", "seconds"]
    assert summary["dice"] > max(summary["dice_wrong_text"], summary["dice_swapped_text"]) + 0.3
    assert summary["dice"] > max(summary["dice_without_text"], summary["dice_bound_without_text"]) + 0.08
    assert summary["dice_swapped_text_and_mask"] > summary["dice_swapped_text"] + 0.3
    cases = read_rows(tmp_path / "demo" / "cases.csv")
    assert len(cases) == count
    assert list(cases[0]) == ["id", "text", *KEYS]
    for name in KEYS:
        assert sum(float(case[name]) for case in cases) / count == pytest.approx(summary[name], abs=1e-4)
    assert min(Image.open(tmp_path / "demo" / "story.png").size) > 500
    assert (tmp_path / "demo" / "model.pt").exists()
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.count('role="row"') == count + 1
    assert f"<strong>{summary['dice']:.3f}</strong>" in page
    assert "left and right exchanged, mask too" in page
    assert str(tmp_path / "demo") in capfd.readouterr().out


def test_an_unknown_kind_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="expected one of lungs, chest, nuclei"):
        demo(tmp_path / "demo", "hearts")
    assert not (tmp_path / "demo").exists()


def test_an_existing_folder_is_left_alone(tmp_path):
    with pytest.raises(FileExistsError, match="choose another folder"):
        demo(str(tmp_path))

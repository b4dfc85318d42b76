"""The page holds what the run's folder holds, and nothing from elsewhere."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
import torch
from made_run import STRANGE, save_run

from textdiff_monai.apps.report.report import report
from textdiff_monai.data.files import read_rows, write_rows
from textdiff_monai.data.runs import file_hash


class Page(HTMLParser):
    """Texts of the elements that are closed, by their tag."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open, self.texts, self.attributes = [], {}, []
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.open.append((tag, []))
        self.attributes += attributes

    def handle_data(self, data):
        for _, pieces in self.open:
            pieces.append(data)

    def handle_endtag(self, tag):
        while self.open:
            name, pieces = self.open.pop()
            self.texts.setdefault(name, []).append("".join(pieces).strip())
            if name == tag:
                return


def test_evaluations_of_other_weights_are_left_out_and_told(tmp_path):
    run = save_run(tmp_path / "films")
    for folder, weights in (("test", "new"), ("test_captions_none", "old"), ("test_captions_swapped", "new")):
        path = run / folder / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"checkpoint_sha256": weights}))
    with pytest.warns(
        UserWarning, match="test_captions_none: was measured with different weights than .*test; evaluate"
    ):
        page = Page(report(run))
    assert "left and right exchanged" in page.texts["th"]
    assert "without a sentence" not in page.source
    assert "Reading the sentence is worth" not in page.source


def test_figures_stand_with_their_intervals_and_what_the_sentence_is_worth(tmp_path):
    run = save_run(tmp_path / "films")
    metrics = json.loads((run / "test" / "metrics.json").read_text())
    path = report(run)
    page = Page(path)
    assert path == run / "report.html"
    assert page.texts["h1"] == ["films"]
    low, high = metrics["mean_dice_interval"]
    assert page.texts["strong"][0] == f"{metrics['mean_dice']:.3f}"
    assert f"({low:.3f} to {high:.3f})" in page.texts["dd"][0]
    without = json.loads((run / "test_captions_none" / "metrics.json").read_text())["mean_dice"]
    assert f"is worth {metrics['mean_dice'] - without:+.3f} Dice" in page.source
    assert {"with its sentence", "without a sentence", "left and right exchanged"} <= set(page.texts["th"])
    assert "with another sentence" not in page.source
    assert "calibration error 0.0100 with temperature 1.50, 0.1000 without" in " ".join(page.texts["p"])
    assert len([text for text in page.texts["td"] if text.startswith("case_")]) == 12


def test_nothing_is_asked_of_anywhere_else(tmp_path):
    page = Page(report(save_run(tmp_path)))
    links = [value for name, value in page.attributes if name in ("src", "href", "action", "xlink:href")]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in page.source


def test_what_data_say_is_text_never_markup(tmp_path):
    page = Page(report(save_run(tmp_path), title=STRANGE))
    assert page.texts["h1"] == [STRANGE]
    assert STRANGE in page.texts["td"]
    assert "<script>alert" not in page.source
    assert "b" not in page.texts


def test_plots_are_well_formed_with_a_meaning_and_ids_of_their_own(tmp_path):
    page = Page(report(save_run(tmp_path)))
    plots = re.findall(r"<svg.*?</svg>", page.source, re.DOTALL)
    assert len(plots) == 5
    ids = [part.get("id") for plot in plots for part in ET.fromstring(plot).iter() if part.get("id")]
    assert len(ids) == len(set(ids))
    assert all(ET.fromstring(plot).get("aria-label") for plot in plots)
    assert all("currentColor" in plot and "#010203" not in plot for plot in plots)


def test_recipe_hash_and_versions_are_there(network, tmp_path):
    network.recipe.describe(class_names=["background", "nuclei"])
    run = save_run(tmp_path)
    torch.save(network.state_dict(), run / "model.pt")
    torch.save({"options": {"seed": 3, "augment": "symmetries"}}, run / "last.pt")
    page = Page(report(run))
    rows = dict(zip(page.texts["th"], page.texts["th"], strict=True))
    assert {"blocks", "encoders.backbone.weights", "seed", "torch"} <= rows.keys()
    assert file_hash(run / "model.pt") in page.texts["code"]
    assert "[1, 3]" in page.texts["code"]
    assert "nuclei" in page.source


def test_words_that_were_measured_can_be_pointed_at_and_say_what_they_do(tmp_path):
    run = save_run(tmp_path)
    page = Page(report(run))
    words = "The nuclei in the right."
    assert words in " ".join(page.texts["button"])
    assert words in page.texts["span"]
    told = [value for name, value in page.attributes if name == "aria-label"]
    assert "right.: Dice 0.65 without it, 0.90 with it; 18% of the attention" in told
    assert "In 2 of the worst and best cases" in page.source
    strips = list((run / "test" / "words").iterdir())
    assert all(base64.b64encode(strip.read_bytes()).decode() in page.source for strip in strips)
    for path in (run / "test" / "words.csv", *strips):
        path.unlink()
    without = Page(report(run))
    assert words in without.texts["td"]
    assert words not in " ".join(without.texts["button"])
    assert "worst and best cases" not in without.source


@pytest.mark.parametrize("panels", [3, 4])
def test_a_words_map_covers_the_image_alone(panels, tmp_path):
    run = save_run(tmp_path)
    cases = run / "test" / "cases.csv"
    more = {"mean_disagreement": 0.1} if panels == 4 else {}
    write_rows(cases, [case | more for case in read_rows(cases)])
    page = Page(report(run))
    assert ("where the heads disagree" in page.source) == (panels == 4)
    width = next(int(value) for name, value in page.attributes if name == "width" and value.isdigit())
    (style, *_) = [value for name, value in page.attributes if name == "style" and value.startswith("width")]
    gaps = 2 * (panels - 1)
    covered = float(style.removeprefix("width: ").rstrip("%"))
    assert covered == pytest.approx(100 * (width - gaps) / panels / width, abs=0.01)


def test_without_empty_targets_no_figure_is_told_twice(tmp_path):
    run = save_run(tmp_path)
    metrics = run / "test" / "metrics.json"
    assert "mean Dice nonempty" in Page(report(run)).source
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"empty_targets": 0}))
    assert "mean Dice nonempty" not in Page(report(run)).source


def test_a_bare_evaluation_is_enough(tmp_path):
    run = save_run(tmp_path, readings=())
    for name in ("history.csv", "test/calibration.json"):
        (run / name).unlink()
    for picture in (run / "test" / "pictures").iterdir():
        picture.unlink()
    page = Page(report(run, tmp_path / "elsewhere" / "page.html"))
    assert "There are no pictures" in page.source
    assert "What the sentence is worth" not in page.source
    assert "How it was trained" not in page.source
    assert "Whether its probabilities hold" not in page.source


def test_a_page_is_the_same_each_time(tmp_path):
    run = save_run(tmp_path)
    assert report(run, tmp_path / "a.html").read_text() == report(run, tmp_path / "b.html").read_text()


def test_a_folder_without_an_evaluation_is_an_error_that_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics.json does not exist; evaluate first"):
        report(tmp_path)

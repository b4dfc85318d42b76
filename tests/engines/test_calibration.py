"""What an evaluation says of its own probabilities."""

from __future__ import annotations

import json

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from textdiff_monai import Calibrate, CalibrationReport, ExpectedDice, TextInferer, read_recipe
from textdiff_monai.engines.inferer import BACKGROUND
from textdiff_monai.engines.presence import unmarked


def evaluation(temperature, *handlers):
    """Three items of made logits, too large by a factor, whose truth is drawn by what they should be."""
    torch.manual_seed(0)
    outputs = []
    for _ in range(3):
        logits = torch.randn(2, 64, 64) * 2
        truth = (torch.rand(64, 64) < logits.softmax(0)[1]).float()
        outputs.append({"logits": logits * temperature, "label": torch.stack([1 - truth, truth])})
    engine = Engine(lambda engine, batch: [outputs[batch]])
    for handler in handlers:
        handler.attach(engine)
    engine.run(range(3))


def test_a_temperature_is_fitted_and_kept_in_the_checkpoint(network, tmp_path):
    path = tmp_path / "model.pt"
    network.recipe.facts["words"] = ["left"]
    torch.save(network.state_dict(), path)
    evaluation(2.5, Calibrate(str(path)))
    known = read_recipe(path)
    assert known["temperature"] == pytest.approx(2.5, rel=0.1)
    assert known["words"] == ["left"]
    weights = torch.load(path, weights_only=True)
    for name, weight in network.state_dict().items():
        assert name.startswith("recipe.") or torch.equal(weight, weights[name])
    network.load_state_dict(weights)
    assert network.recipe.facts["temperature"] == known["temperature"]


def test_pictures_in_which_nothing_was_to_be_marked_do_not_change_the_temperature(network, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(network.state_dict(), path)
    torch.manual_seed(0)
    logits = torch.randn(2, 32, 32) * 5
    truth = (torch.rand(32, 32) < (logits / 2.5).softmax(0)[1]).float()
    label = torch.stack([1 - truth, truth])
    asked = {"logits": logits, "label": label, "image": MetaTensor(torch.zeros(3, 32, 32), meta={"doubt": ""})}
    unlike = MetaTensor(torch.zeros(3, 32, 32), meta={"doubt": "the picture is unlike those"})
    left = {"logits": unmarked(logits, BACKGROUND), "label": label, "image": unlike}
    engine = Engine(lambda engine, batch: [batch])
    Calibrate(str(path)).attach(engine)
    engine.run([asked, left])
    assert read_recipe(path)["temperature"] == pytest.approx(2.5, rel=0.1)
    engine.run([left])
    assert read_recipe(path)["temperature"] == 1.0


def test_masks_less_sure_than_those_that_are_there_are_left_out(network, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(network.state_dict(), path)
    there, absent = torch.zeros(2, 8, 8), torch.zeros(2, 8, 8)
    there[1, :4], absent[1, :2] = 3.0, 1.0  # sure of one half, less sure of a quarter
    truth = torch.zeros(8, 8)
    nothing = torch.stack([1 - truth, truth])
    truth[:4] = 1
    items = [
        {"logits": there, "label": torch.stack([1 - truth, truth])},
        {"logits": absent, "label": nothing},
    ]
    engine = Engine(lambda engine, batch: [items[batch]])
    Calibrate(str(path)).attach(engine)
    engine.run(range(2))
    least = read_recipe(path)["least_presence"]
    assert least == pytest.approx(torch.sigmoid(torch.tensor(3.0)).item())
    inferer = TextInferer(read_text=False, least_presence=least)
    masks = inferer(torch.zeros(2, 3, 8, 8), lambda images: torch.stack([there, absent])).argmax(1)
    assert masks[0].equal(truth.long())
    assert not masks[1].any()


def test_the_report_has_the_error_with_and_without_the_temperature(tmp_path):
    evaluation(1.0, CalibrationReport(str(tmp_path), temperature=3.0))
    report = json.loads((tmp_path / "calibration.json").read_text())
    assert report["temperature"] == 3.0
    assert report["calibrated"]["error"] < 0.02 < report["uncalibrated"]["error"]
    assert sum(row["pixels"] for row in report["calibrated"]["reliability"]) == 3 * 64 * 64


def test_the_report_has_the_roc_of_what_is_there_and_what_is_not(tmp_path):
    sure = {True: [2.0, 1.0, -1.0], False: [1.5, -2.0]}  # the highest logit of items whose target is there, or not
    outputs = []
    for there, logits in sure.items():
        for logit in logits:
            truth = torch.zeros(4, 4)
            truth[0] = float(there)
            found = torch.full((2, 4, 4), -9.0)
            found[0], found[1, 0, 0] = 0.0, logit
            outputs.append({"logits": found, "label": torch.stack([1 - truth, truth])})
    engine = Engine(lambda engine, batch: [outputs[batch]])
    CalibrationReport(str(tmp_path)).attach(engine)
    engine.run(range(3))
    engine.run(range(5))  # each evaluation is of its own
    presence = json.loads((tmp_path / "calibration.json").read_text())["presence"]
    assert {name: presence[name] for name in ("present", "absent", "marked_present", "marked_absent")} == {
        **{"present": 3, "absent": 2, "marked_present": 2, "marked_absent": 1}
    }
    assert presence["auc"] == pytest.approx(4 / 6)
    assert [point["negatives"] for point in presence["roc"]] == [0, 1 / 2, 1 / 2, 1 / 2, 1]
    assert [point["positives"] for point in presence["roc"]] == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1, 1])


def test_what_several_processes_found_is_counted_together(network, tmp_path, monkeypatch):
    monkeypatch.setattr(idist, "all_gather", lambda found: [found, found])  # as if another had the same items
    torch.save(network.state_dict(), tmp_path / "model.pt")
    evaluation(2.5, Calibrate(str(tmp_path / "model.pt")), CalibrationReport(str(tmp_path)))
    assert read_recipe(tmp_path / "model.pt")["temperature"] == pytest.approx(2.5, rel=0.1)
    report = json.loads((tmp_path / "calibration.json").read_text())
    assert sum(row["pixels"] for row in report["calibrated"]["reliability"]) == 2 * 3 * 64 * 64


def test_without_absent_targets_there_is_no_roc(tmp_path):
    evaluation(1.0, CalibrationReport(str(tmp_path)))
    assert json.loads((tmp_path / "calibration.json").read_text())["presence"] is None


def test_the_inferer_divides_by_the_temperature():
    image, network = torch.randn(1, 3, 8, 8), lambda image: image[:, :2]
    logits = TextInferer(read_text=False, temperature=2.0)(image, network)
    torch.testing.assert_close(logits, image[:, :2] / 2)


def scored(metric, *items):
    """A metric of items: foreground probabilities and truth, lists of pixels."""
    for said, truth in items:
        foreground, truth = torch.tensor(said)[None], torch.tensor(truth)[None].float()
        metric([torch.stack([1 - foreground, foreground]).log()], [torch.stack([1 - truth, truth])])
    return metric


def test_the_expected_dice_is_that_of_probabilities_that_come_true():
    metric = scored(ExpectedDice(), ([0.9, 0.8, 0.1], [1, 1, 0]), ([0.2, 0.1, 0.1], [0, 0, 0]))
    expected = [2 * 1.7 / (1.8 + 2), 0.8]
    assert metric.get_buffer().flatten().tolist() == pytest.approx(expected)
    assert metric.aggregate().item() == pytest.approx(sum(expected) / 2)

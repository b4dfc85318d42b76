"""What a head says of what it can be asked for."""

from __future__ import annotations

import torch

from textdiff_monai.apps.targets import targets


def saved(network, path, **facts):
    network.recipe.facts |= facts
    torch.save(network.state_dict(), path)
    return path


def test_figures_are_told_by_target(network, tmp_path, capsys):
    figures = {
        "optic disc": {"dice": 0.821, "images": 18, "absent": 7, "false_alarms": 1},
        "left lung": {"dice": 0.9, "images": 11, "absent": 0, "false_alarms": 0},
    }
    targets(saved(network, tmp_path / "model.pt", figures=figures, targets=["lung", "optic disc"]))
    lung, disc = capsys.readouterr().out.splitlines()
    assert lung.split() == ["left", "lung", "Dice", "0.90", "on", "11", "images"]
    assert "Dice 0.82 on 18 images, 1 of 7 false alarms" in disc
    assert "also: optic disk, papilla" in disc


def test_a_head_without_figures_tells_names_and_one_of_free_captions_says_so(network, tmp_path, capsys):
    targets(saved(network, tmp_path / "model.pt", targets=["polyp"]))
    assert capsys.readouterr().out.startswith("polyp ")
    targets(saved(network, tmp_path / "other.pt", targets=[]))
    assert "name no known structure" in capsys.readouterr().out

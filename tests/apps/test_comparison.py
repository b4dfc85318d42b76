"""The table says of made figures what they were made to be."""

from __future__ import annotations

import numpy as np
import pytest

from textdiff_monai.apps.charts import labels_curves
from textdiff_monai.apps.comparison import shown, table_of


def measured(network, gain, captions="own", labelled=4, seeds=3, images=20):
    rng = np.random.default_rng(0)
    base, seconds = rng.beta(6, 2, images) * 0.8, 10.0
    cases = [
        [{"id": str(i), "image": f"/{i}.png", "mean_dice": str(base[i] + gain + noise)} for i, noise in enumerate(row)]
        for row in np.random.default_rng(list(network.encode())).normal(0, 0.01, (seeds, images))
    ]
    about = {"labelled": labelled, "network": network, "captions": captions}
    return about | {"cases": cases, "seconds": seconds}


def test_a_row_has_its_mean_its_interval_and_the_paired_difference():
    entries = [measured("ours", 0.1), measured("ours", 0.02, "none"), measured("unet", 0.1), measured("random", 0)]
    ours, none, unet, random = table_of(entries)
    assert (ours["against"], ours["p"], ours["seeds"], ours["images"]) == (None, None, 3, 20)
    assert ours["low"] < ours["mean_dice"] < ours["high"]
    assert (none["against"], random["against"]) == ("its own captions", "ours")
    assert none["difference"] == pytest.approx(-0.08, abs=0.01)
    assert none["difference_high"] < -0.05
    assert random["p"] < 0.001
    assert unet["p"] > 0.001
    assert unet["difference_low"] < 0 < unet["difference_high"]


def test_the_table_is_printed_line_by_line_and_drawn():
    table = table_of([measured("ours", 0.1, labelled=n) for n in (2, 8)] + [measured("unet", 0, labelled=2)])
    title, *lines = shown(table)
    assert "20 images and 3 seeds" in title
    assert [line.split()[0] for line in lines] == ["2", "8", "2"]
    assert "against ours, p " in lines[2]
    (axes,) = labels_curves(table).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ours", "unet"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "8"]


def test_of_one_image_there_is_no_interval():
    (row,) = table_of([measured("ours", 0.1, images=1)])
    assert (row["low"], row["high"]) == (None, None)
    assert "to" not in shown([row])[1].split()


def test_runs_on_different_items_are_not_one_row():
    entry = measured("ours", 0.1)
    entry["cases"][1] = entry["cases"][1][::-1]
    with pytest.raises(ValueError, match="measured on different items"):
        table_of([entry])

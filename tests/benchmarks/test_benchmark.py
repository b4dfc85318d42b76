"""The benchmark: its other side computes what was published, and its report holds what it promises."""

from __future__ import annotations

import json
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from benchmarks.benchmark import benchmark
from benchmarks.measure import multiply_adds, peak_bytes, side_by_side
from benchmarks.report import summary
from benchmarks.setting import Setting, Work, write_weights
from textdiff_monai import FeatureCache

CPU = torch.device("cpu")
SMALLEST = Setting(
    image_size=16,
    num_channels=32,
    num_head_channels=16,
    channel_mult="1,2",
    blocks=(0, 4),
    steps=(50, 250),
    bert={"num_hidden_layers": 1, "intermediate_size": 16},
    sizes=(8, 16),
    repeats=2,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_weights(SMALLEST, folder)
    return folder


@pytest.fixture
def work(weights):
    return Work(SMALLEST, weights, CPU)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report, and where it was written."""
    path = tmp_path_factory.mktemp("report") / "new" / "report.json"
    return benchmark(SMALLEST, path, device="cpu", progress=False), path


def test_both_ways_give_the_same_logits(work):
    image = work.image()
    torch.testing.assert_close(
        work.infer(image, work.text), work.infer_published(image, work.text), rtol=1e-4, atol=1e-4
    )


def test_both_ways_train_alike(work, tmp_path):
    torch.manual_seed(0)
    ours = work.trainer(FeatureCache(tmp_path, dtype="float32"))
    torch.manual_seed(0)
    published = work.published_trainer()
    image = work.image()
    features, text = work.published_features(image), work.published_text(work.text)
    losses = [(ours(image), published(features, text)) for _ in range(3)]
    for one, other in losses:
        assert one == pytest.approx(other, rel=1e-3)
    assert losses[0][0] != losses[2][0]


def test_every_image_and_sentence_is_new(work):
    assert not torch.equal(work.image(), work.image())
    assert len({work.new_text() for _ in range(20)}) == 20


def test_the_report_has_every_figure(report):
    report, path = report
    assert json.loads(path.read_text()) == json.loads(json.dumps(report))
    ratios = report["ratios"]
    names = ["inference_fp32", "inference_best", "training_50_epochs", "cached_step", "training_memory", "over_floor"]
    assert list(ratios) == names
    assert all(ratio is None or (ratio > 0 and math.isfinite(ratio)) for ratio in ratios.values())
    assert ratios["inference_best"] >= ratios["inference_fp32"]
    assert 0 < report["max_relative_error"] < 1e-4
    counted = report["inference"]["multiply_adds"]
    assert 0 < counted["ours"] < counted["published"]
    assert report["training"]["cache_bytes_per_image"] > 2 * 2 * (64 * 8**2 + 32 * 16**2)
    assert 0 < report["training"]["relative_error_of_cached_features"] < 0.01
    assert [row["size"] for row in report["growth"]["inference_seconds_by_size"]] == [8, 16]
    by_epochs = report["growth"]["training_seconds_by_epochs"]
    assert by_epochs[-1]["published"] == pytest.approx(100 * by_epochs[0]["published"])
    assert by_epochs[-1]["ours"] < 100 * by_epochs[0]["ours"]
    assert f"{report['ratios']['over_floor']:.2f} times the floor" in "\n".join(summary(report))


def test_a_plot_lies_beside_the_report(report):
    assert report[1].with_suffix(".png").stat().st_size > 10_000


def test_an_unknown_configuration_is_an_error_that_names_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"'adm'.*adm-256, small"):
        benchmark("adm", tmp_path / "report.json")


def test_a_place_where_the_report_would_be_lost_is_an_error_before_any_work(tmp_path):
    with pytest.raises(ValueError, match=r"report.png: the plot beside the report has that ending"):
        benchmark("small", tmp_path / "report.png")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file; choose a folder"):
        benchmark("small", tmp_path / "file" / "report.json")


def test_multiply_adds_are_counted_with_a_given_place_and_in_attention_too():
    a, b, total = torch.ones(1, 2, 3), torch.ones(1, 3, 5), torch.zeros(1, 2, 5)
    assert multiply_adds(lambda: torch.bmm(a, b, out=total))[1] == 2 * 3 * 5
    assert multiply_adds(lambda: torch.baddbmm(torch.ones(5), a, b, out=total))[1] == 2 * 3 * 5
    assert multiply_adds(lambda: F.conv2d(torch.ones(1, 4, 8, 8), torch.ones(6, 4, 3, 3), padding=1))[1] == 64 * 216
    heads = torch.ones(1, 2, 8, 4)
    result, counted = multiply_adds(lambda: F.scaled_dot_product_attention(heads, heads, heads))
    assert counted == 2 * (2 * 8 * 8 * 4)
    assert result.shape == heads.shape


def test_jobs_take_turns_and_the_first_is_not_counted():
    order = []
    seconds = side_by_side({name: lambda name=name: order.append(name) for name in "ab"}, 2, CPU)
    assert order == ["a", "b"] * 3
    assert set(seconds) == {"a", "b"}
    assert all(value >= 0 for value in seconds.values())


def _eight_times_64_mib():
    for _ in range(8):
        torch.ones(2**24)  # freed each time


def test_the_peak_is_what_a_job_held_at_once():
    # In a new process: here what other tests freed may be taken again, and is no growth.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        peak = pool.submit(peak_bytes, _eight_times_64_mib, CPU).result()
    assert peak is None or 0.9 * 2**26 < peak < 4 * 2**26

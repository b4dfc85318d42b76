"""The benchmark: its other side computes what was published, and its report holds what it promises."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from published import adm_shapes, fill, head_shapes

from benchmarks.benchmark import benchmark
from benchmarks.measure import multiply_adds, peak_bytes, side_by_side
from benchmarks.reference import published_features, published_head, published_logits
from benchmarks.report import summary
from benchmarks.setting import Setting
from textdiff_monai import DiffusionBackbone, SegmentationHead
from textdiff_monai.apps.weights import import_adm, load_published_head

CPU = torch.device("cpu")
SMALLEST = Setting(
    blocks=(0, 2),
    steps=(50, 250),
    size=16,
    head={"channels": 16, "heads": 2, "head_channels": 16, "hidden_channels": (8, 8)},
    unet={
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 8,
        "norm_num_groups": 4,
    },
    text_channels=16,
    sizes=(8, 16),
    batches=(1, 2),
    repeats=2,
)


def assert_close(ours, theirs, tolerance=1e-4):
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def test_the_published_way_repeats_the_published_numbers(golden, tmp_path):
    options, numbers = json.loads(golden.read_text()), np.load(golden.with_suffix(".npz"))
    torch.save(fill(adm_shapes(options)), tmp_path / "adm.pt")
    import_adm(tmp_path / "adm.pt", tmp_path / "unet", options["num_head_channels"])
    backbone = DiffusionBackbone(tmp_path / "unet", options["blocks"], options["steps"])
    features = published_features(backbone, torch.from_numpy(numbers["image"]))
    for k, feature in enumerate(features):
        assert_close(feature.double().std((0, 2, 3)).numpy(), numbers[f"feature{k}_std"])
    torch.save({"model_state_dict": fill(head_shapes(backbone.out_channels))}, tmp_path / "head.pth")
    head = SegmentationHead(backbone.out_channels, text_channels=768).eval()
    load_published_head(head, tmp_path / "head.pth")
    with torch.no_grad():
        logits = published_head(head, features, torch.from_numpy(numbers["text"]), numbers["label"].shape[-2:])
    assert_close(logits.numpy(), numbers["logits"])


def test_both_ways_give_the_same_logits_and_gradients(network):
    image, texts = torch.rand(1, 3, 16, 16) * 2 - 1, ["left upper lung"]
    both = network(image, texts), published_logits(network, image, texts)
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(logits.square().sum(), [*network.head.parameters()]) for logits in both]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


def test_the_published_way_runs_the_whole_unet_for_one_step_after_the_other_and_leaves_no_hook(network):
    seen = []
    hook = network.backbone.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    published_features(network.backbone, torch.zeros(1, 3, 8, 8))
    hook.remove()
    assert [(tuple(sample.shape), step) for sample, step in seen] == [((1, 3, 8, 8), 50), ((1, 3, 8, 8), 250)]
    assert not any(module._forward_hooks for module in network.backbone.modules())


def test_the_report_has_every_figure(tmp_path):
    report = benchmark(SMALLEST, tmp_path / "new" / "report.json", device="cpu", progress=False)
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == json.loads(json.dumps(report))
    ratios = report["ratios"]
    names = ["inference_fp32", "inference_best", "training_50_epochs", "cached_step", "training_memory", "over_floor"]
    assert list(ratios) == names
    assert all(ratio is None or (ratio > 0 and math.isfinite(ratio)) for ratio in ratios.values())
    assert ratios["inference_best"] >= ratios["inference_fp32"]
    assert 0 < report["max_relative_error"] < 1e-4
    counted = report["inference"]["multiply_adds"]
    assert 0 < counted["ours"] < counted["published"]
    assert report["training"]["cache_bytes_per_image"] > 2 * sum(2 * c * s**2 for c, s in ((16, 8), (8, 16)))
    assert report["training"]["relative_error_of_cached_features"] < 0.01
    assert [row["size"] for row in report["growth"]["inference_seconds_per_image_by_size"]] == [8, 16]
    assert [row["batch"] for row in report["growth"]["inference_seconds_per_image_by_batch"]] == [1, 2]
    assert len({row["option"] for row in report["options"]}) == 4
    assert f"{report['ratios']['over_floor']:.2f} times the floor" in "\n".join(summary(report))


def test_a_plot_lies_beside_the_report(tmp_path):
    pytest.importorskip("matplotlib")
    benchmark(SMALLEST, tmp_path / "report.json", device="cpu", progress=False)
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_an_unknown_configuration_is_an_error_that_names_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"'adm'.*tiny, adm-256"):
        benchmark("adm", tmp_path / "report.json")


def test_multiply_adds_are_counted_in_place_and_in_attention_too():
    a, b, total = torch.ones(2, 3), torch.ones(3, 5), torch.zeros(2, 5)
    assert multiply_adds(lambda: total.addmm_(a, b))[1] == 2 * 3 * 5
    assert multiply_adds(lambda: total[None].baddbmm_(a[None], b[None]))[1] == 2 * 3 * 5
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


def test_the_peak_is_what_a_job_held_at_once():
    def job():
        for _ in range(8):
            torch.ones(2**24)  # 64 MiB, freed each time

    peak = peak_bytes(job, CPU)
    assert peak is None or 0.9 * 2**26 < peak < 4 * 2**26

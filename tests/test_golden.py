"""Given the same weights, this project computes what the published implementation computed."""

from __future__ import annotations

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss

from benchmarks import published
from benchmarks.stand_ins import adm_shapes, fill, head_shapes
from textdiff_monai import DiffusionBackbone, SegmentationHead
from textdiff_monai.apps.weights import import_adm, load_published_head
from textdiff_monai.fast import convolution
from textdiff_monai.fast.convolution import ShortConvolutions
from textdiff_monai.fast.head import short_logits

TOLERANCE, LOSS_TOLERANCE = 1e-4, 1e-3
# Batch norm cancels the biases before it, so their gradients are rounding noise, which Adam scales to whole steps of
# 1e-4: multiplying the features by 1 + 1e-7 moves the logits after five steps by 2e-3.
TRAINED_TOLERANCE = 1e-2


def assert_close(ours, theirs, what, tolerance=TOLERANCE):
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert error <= tolerance, f"{what}: off by {error:.1e} of the largest value"


WAYS = {"plain": (nullcontext, SegmentationHead.__call__), "fast": (ShortConvolutions, short_logits)}


class Case:
    """A network with published weights, whose features and logits come by one of the two ways."""

    def __init__(self, golden, way, folder):
        entered, self.logits_of = WAYS[way]
        self.options, self.numbers = json.loads(golden.read_text()), np.load(golden.with_suffix(".npz"))
        torch.save(fill(adm_shapes(self.options)), folder / "adm.pt")
        import_adm(folder / "adm.pt", folder / "unet", self.options["num_head_channels"])
        self.backbone = DiffusionBackbone(folder / "unet", self.options["blocks"], self.options["steps"])
        self.image = torch.from_numpy(self.numbers["image"])
        with entered():
            self.features = self.backbone(self.image)
        torch.save({"model_state_dict": fill(head_shapes(self.backbone.out_channels))}, folder / "head.pth")
        self.head = SegmentationHead(self.backbone.out_channels, text_channels=768)
        load_published_head(self.head, folder / "head.pth")
        self.text = torch.from_numpy(self.numbers["text"])
        self.label = torch.from_numpy(self.numbers["label"]).long()[:, None]

    def logits(self):
        return self.logits_of(self.head, self.features, self.text, None, self.image)

    @torch.no_grad()
    def inferred(self):
        self.head.eval()
        return self.logits().numpy()


@pytest.fixture
def case(golden, request, tmp_path, monkeypatch):
    monkeypatch.setattr(convolution, "_CHANNELS", 32)  # narrow UNets too
    return Case(golden, request.param, tmp_path)


@pytest.mark.parametrize("case", WAYS, indirect=True)
def test_published_features_and_logits_are_repeated(case):
    numbers = case.numbers
    if "noise" in numbers:
        assert np.array_equal(case.backbone.noise(*numbers["noise"].shape[-2:]).numpy(), numbers["noise"])
    for k, feature in enumerate(case.features):
        feature = feature.double()
        assert_close(feature.mean((0, 2, 3)).numpy(), numbers[f"feature{k}_mean"], f"mean of feature {k}")
        assert_close(feature.std((0, 2, 3)).numpy(), numbers[f"feature{k}_std"], f"deviation of feature {k}")
    assert case.backbone.out_channels == [dim * len(case.options["steps"]) for dim in case.options["dim"]]
    assert_close(case.inferred(), numbers["logits"], "logits")


@pytest.mark.parametrize("case", ["fast", pytest.param("plain", marks=pytest.mark.slow)], indirect=True)
def test_published_training_is_repeated(case):
    loss = DiceCELoss(
        to_onehot_y=True, softmax=False, squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5, lambda_dice=1.5
    )
    optimizer = torch.optim.Adam(case.head.parameters(), lr=1e-4)
    case.head.train()
    for expected in case.numbers["train_losses"]:
        optimizer.zero_grad()
        value = loss(case.logits(), case.label)
        value.backward()
        optimizer.step()
        assert abs(value.item() - expected) <= LOSS_TOLERANCE * expected
    after = case.numbers["logits_after_training"]
    assert_close(case.inferred(), after, "logits after training", TRAINED_TOLERANCE)


def test_the_plain_witness_repeats_the_published_numbers(golden):
    options, numbers = json.loads(golden.read_text()), np.load(golden.with_suffix(".npz"))
    image, text = torch.from_numpy(numbers["image"]), torch.from_numpy(numbers["text"])
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(40))
    with torch.no_grad():
        maps = published.features(fill(adm_shapes(options)), image, noise, options)
        state, size = fill(head_shapes([feature.shape[1] for feature in maps])), numbers["label"].shape[-2:]
        logits = published.head(state, maps, text, size)
    for k, feature in enumerate(maps):
        assert_close(feature.double().std((0, 2, 3)).numpy(), numbers[f"feature{k}_std"], f"deviation of feature {k}")
    assert_close(logits.numpy(), numbers["logits"], "logits")

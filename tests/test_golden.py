"""Given the same weights, this project computes what the published implementation computed."""

from __future__ import annotations

import json

import numpy as np
import plain
import torch
from monai.losses import DiceCELoss
from published import adm_shapes, fill, head_shapes

from textdiff_monai import DiffusionBackbone, SegmentationHead
from textdiff_monai.apps.weights import import_adm, load_published_head

TOLERANCE, LOSS_TOLERANCE = 1e-4, 1e-3
# Batch norm cancels the biases before it, so their gradients are rounding noise, which Adam scales to whole steps of
# 1e-4: multiplying the features by 1 + 1e-7 moves the logits after five steps by 2e-3.
TRAINED_TOLERANCE = 1e-2


def assert_close(ours, theirs, what, tolerance=TOLERANCE):
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert error <= tolerance, f"{what}: off by {error:.1e} of the largest value"


def test_published_numbers_are_repeated(golden, library, tmp_path):
    options, numbers = json.loads(golden.read_text()), np.load(golden.with_suffix(".npz"))
    torch.save(fill(adm_shapes(options)), tmp_path / "adm.pt")
    import_adm(tmp_path / "adm.pt", tmp_path / "unet", options["num_head_channels"])
    backbone = DiffusionBackbone(tmp_path / "unet", options["blocks"], options["steps"])
    if "noise" in numbers:
        assert np.array_equal(backbone.noise(*numbers["noise"].shape[-2:]).numpy(), numbers["noise"])

    features = backbone(torch.from_numpy(numbers["image"]))
    for k, feature in enumerate(features):
        feature = feature.double()
        assert_close(feature.mean((0, 2, 3)).numpy(), numbers[f"feature{k}_mean"], f"mean of feature {k}")
        assert_close(feature.std((0, 2, 3)).numpy(), numbers[f"feature{k}_std"], f"deviation of feature {k}")

    assert backbone.out_channels == [dim * len(options["steps"]) for dim in options["dim"]]
    torch.save({"model_state_dict": fill(head_shapes(backbone.out_channels))}, tmp_path / "head.pth")
    head = SegmentationHead(backbone.out_channels, text_channels=768)
    load_published_head(head, tmp_path / "head.pth")
    text, label = torch.from_numpy(numbers["text"]), torch.from_numpy(numbers["label"]).long()[:, None]
    size = label.shape[-2:]

    def logits():
        with torch.no_grad():
            return head.eval()(features, text, None, size).numpy()

    assert_close(logits(), numbers["logits"], "logits")

    loss = DiceCELoss(
        to_onehot_y=True, softmax=False, squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5, lambda_dice=1.5
    )
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-4)
    head.train()
    for expected in numbers["train_losses"]:
        optimizer.zero_grad()
        value = loss(head(features, text, None, size), label)
        value.backward()
        optimizer.step()
        assert abs(value.item() - expected) <= LOSS_TOLERANCE * expected
    assert_close(logits(), numbers["logits_after_training"], "logits after training", TRAINED_TOLERANCE)


def test_the_plain_witness_repeats_the_published_numbers(golden):
    options, numbers = json.loads(golden.read_text()), np.load(golden.with_suffix(".npz"))
    image, text = torch.from_numpy(numbers["image"]), torch.from_numpy(numbers["text"])
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(40))
    with torch.no_grad():
        maps = plain.features(fill(adm_shapes(options)), image, noise, options)
        logits = plain.head(fill(head_shapes([feature.shape[1] for feature in maps])), maps, text)
    for k, feature in enumerate(maps):
        assert_close(feature.double().std((0, 2, 3)).numpy(), numbers[f"feature{k}_std"], f"deviation of feature {k}")
    assert_close(logits.numpy(), numbers["logits"], "logits")

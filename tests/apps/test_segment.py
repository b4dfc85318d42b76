"""``textdiff segment``: masks, probabilities and overlays of one or many images, in their own layout."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from textdiff_monai import DiffusionBackbone, Recipe, TextDiff, TextEncoder
from textdiff_monai.apps.segment import segment

PIXELS = {"channels": "RGB", "intensity_range": None, "resize": 32, "tile": None, "read_text": True}
HEAD = {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": [8, 8]}


@pytest.fixture
def options(unet_folder, bert_folder, tmp_path):
    """A network with random weights, large enough that its masks are mixed."""
    torch.manual_seed(3)
    norm = ("instance", {"affine": True})
    recipe = Recipe(num_classes=2, class_names=["background", "target"], **PIXELS)
    network = TextDiff(
        DiffusionBackbone(unet_folder, (1, 3), (50,)), TextEncoder(bert_folder), 2, HEAD | {"norm": norm}, recipe=recipe
    )
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    return {
        "checkpoint": str(tmp_path / "model.pt"),
        "backbone": str(unet_folder),
        "text_encoder": str(bert_folder),
    }


def picture(path, height=24, width=40, channels=3):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(np.uint8)
    Image.fromarray(pixels.squeeze()).save(path)
    return path


def test_an_image_gets_a_mask_a_probability_and_an_overlay_of_its_size(options, tmp_path):
    image = picture(tmp_path / "case.png")
    (mask,) = segment(str(image), "left lung", str(tmp_path / "out"), **options)
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == ["case_mask.png", "case_overlay.png", "case_probability.png"]
    assert mask == out / "case_mask.png"
    mask, probability = (np.asarray(Image.open(out / f"case_{name}.png")) for name in ("mask", "probability"))
    assert mask.shape == probability.shape == (24, 40)
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(mask > 0, probability > 127.5)
    overlay, source = (np.asarray(Image.open(path)).astype(int) for path in (out / "case_overlay.png", image))
    changed = np.abs(overlay - source).max(axis=-1) > 2
    assert np.array_equal(changed, mask > 0)


def test_one_image_with_two_sentences_gets_two_masks(options, tmp_path):
    picture(tmp_path / "case.png")
    (tmp_path / "ask.csv").write_text("image,text\ncase.png,left lung\ncase.png,right is high\n")
    first, second = segment(str(tmp_path / "ask.csv"), out=str(tmp_path / "out"), **options)
    assert (first.name, second.name) == ("case_mask.png", "case_2_mask.png")
    probabilities = [np.asarray(Image.open(tmp_path / "out" / f"case{n}_probability.png")) for n in ("", "_2")]
    assert not np.array_equal(*probabilities)


@pytest.mark.parametrize("shape", [(40, 24), (40, 24, 1)])
def test_nifti_comes_back_as_nifti_in_its_place(options, tmp_path, shape):
    affine = np.diag([-0.5, -0.25, 1, 1])
    values = np.random.default_rng(0).normal(size=shape)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "slice.nii.gz")
    (mask,) = segment(str(tmp_path / "slice.nii.gz"), out=str(tmp_path / "out"), **options)
    read = nib.load(mask)
    assert read.shape[:2] == (40, 24)
    assert np.allclose(read.affine[:2, :2], affine[:2, :2])
    assert set(np.unique(np.asarray(read.dataobj))) <= {0, 1}
    probability = np.asarray(nib.load(tmp_path / "out" / "slice_probability.nii.gz").dataobj)
    assert 0 <= probability.min() < probability.max() <= 1


def test_a_folder_is_segmented_whole(options, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.jpg"):
        picture(tmp_path / "in" / name)
    assert len(segment(str(tmp_path / "in"), out=str(tmp_path / "out"), **options)) == 2


def test_a_checkpoint_of_another_network_is_refused_before_any_work(options, tmp_path):
    image = picture(tmp_path / "case.png")
    with pytest.raises(ValueError, match=r"model.pt was trained.* steps \[50\] there, \[60\] here"):
        segment(str(image), out=str(tmp_path / "out"), **options | {"steps": [60]})
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_image_is_named(options, tmp_path):
    (tmp_path / "case.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"case\.png"):
        segment(str(tmp_path / "case.png"), out=str(tmp_path / "out"), **options)

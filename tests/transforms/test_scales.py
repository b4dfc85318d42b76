"""Larger views for small targets: in training tiles of a larger square, those that inference slides over."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import list_data_collate
from PIL import Image

from textdiff_monai import TextInferer, preprocessing

SCALES = {"hard exudates": 4}
SMALL, LARGE = "Segment the hard exudates.", "Segment the optic disc."


def save_fundus(folder):
    """A picture of 128 x 96 with one bright spot, which is the mask."""
    rows, columns = np.mgrid[:96, :128]
    pixels = (50 + 49 * np.sin(rows / 15) * np.cos(columns / 20)).astype(np.uint8)
    mask = np.zeros_like(pixels)
    mask[70:76, 20:26] = 255
    pixels[mask > 0] = 255
    Image.fromarray(pixels).save(folder / "image.png")
    Image.fromarray(mask).save(folder / "mask.png")
    return {"image": str(folder / "image.png"), "label": str(folder / "mask.png")}


def drawn(item, count=40):
    chain = preprocessing(resize=16, scales=SCALES)
    chain.set_random_state(0)
    return list_data_collate([chain(item) for _ in range(count)])


def test_half_of_the_tiles_hold_the_target(tmp_path):
    batch = drawn(save_fundus(tmp_path) | {"text": SMALL})
    assert batch["image"].shape == (40, 3, 16, 16)
    assert batch["label"].shape == (40, 1, 16, 16)
    assert 0.4 < batch["label"].flatten(1).any(1).float().mean() < 0.75


def test_other_targets_are_seen_on_the_whole_image(tmp_path):
    batch = drawn(save_fundus(tmp_path) | {"text": LARGE}, 3)
    assert torch.equal(batch["image"][0], batch["image"][1])


def test_inference_sees_what_training_saw(tmp_path):
    item = save_fundus(tmp_path)
    picture = preprocessing()(item)["image"][None]
    infer, seen = TextInferer(resize=16, scales=SCALES), {}

    def network(images, text):
        seen.setdefault(text if isinstance(text, str) else text[0], []).extend(images)
        return images[:, :1].clone()

    got = infer(torch.cat([picture, picture]), network, [SMALL, LARGE])
    assert got.shape == (2, 1, 96, 128)
    for text, windows in seen.items():
        trained = {tuple(image.flatten().tolist()) for image in drawn(item | {"text": text}, 200)["image"].as_tensor()}
        assert len(windows) == len(trained)
        assert len(trained) == (25 if text == SMALL else 1)
        closest = [min(np.abs(np.subtract(one.flatten(), other)).max() for other in trained) for one in windows]
        assert max(closest) < 1e-5, text


def test_a_scale_gives_back_the_image_where_it_was(tmp_path):
    picture = preprocessing()(save_fundus(tmp_path))["image"][None]
    fine, coarse = (TextInferer(resize=16, scales=SCALES)(picture, lambda x, text: x, text) for text in (SMALL, LARGE))
    assert (fine[0, 0, 71:75, 21:25] > 0.5).all()
    assert not (coarse[0, 0, 71:75, 21:25] > 0.5).all()

"""What a pretrained UNet draws."""

from __future__ import annotations

import numpy as np

from textdiff_monai import unlabelled_images
from textdiff_monai.pretraining.samples import draw_samples, draw_variations


def test_samples_are_a_square_of_images_and_repeat(unet_folder):
    pages = [np.asarray(draw_samples(unet_folder, 4, steps=2, seed=seed)) for seed in (0, 0, 1)]
    assert pages[0].shape == (64, 64, 3)
    assert np.array_equal(pages[0], pages[1])
    assert not np.array_equal(pages[0], pages[2])


def test_variations_keep_the_layout_of_one_picture_a_kind(unet_folder, table):
    held_out = unlabelled_images(table, "val")
    pages = [np.asarray(draw_variations(unet_folder, held_out, noised, 2, steps=2)) for noised in (20, 900, 900)]
    assert pages[0].shape == (2 * (32 + 14), 4 * 32, 3)
    assert np.array_equal(pages[1], pages[2])

    def changed(page):
        picture, ends = page[14:46, :32].astype(float), page[14:46, 64:96].astype(float)
        return np.abs(picture - ends).mean()

    assert changed(pages[0]) < changed(pages[1]) / 2

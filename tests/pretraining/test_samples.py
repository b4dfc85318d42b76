"""What a pretrained UNet draws."""

from __future__ import annotations

import numpy as np

from textdiff_monai.pretraining.samples import draw_samples


def test_samples_are_a_square_of_images_and_repeat(unet_folder):
    pages = [np.asarray(draw_samples(unet_folder, 4, steps=2, seed=seed)) for seed in (0, 0, 1)]
    assert pages[0].shape == (64, 64, 3)
    assert np.array_equal(pages[0], pages[1])
    assert not np.array_equal(pages[0], pages[2])

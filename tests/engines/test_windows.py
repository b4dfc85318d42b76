"""A slide in windows and blocks gives what one sliding window over all of it gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer

from textdiff_monai.engines.windows import SlideWindows


class Picture:
    """As a slide has it."""

    def __init__(self, height, width):
        self.pixels = np.random.default_rng(0).integers(0, 255, (3, height, width), dtype=np.uint8)
        self.size = height, width

    def window(self, top, left, side):
        return self.pixels[:, top : top + side, left : left + side]


def run(images, texts=None):
    """Something that depends on the whole window."""
    values = images.float()
    return torch.stack([values[:, 0] - values.mean((1, 2, 3))[:, None, None], values[:, 1] * values[:, 2] / 99], 1)


@pytest.mark.parametrize("size", [(1100, 700), (64, 64), (65, 600), (1024, 512)])
def test_blocks_are_parts_of_the_whole(size):
    picture = Picture(*size)
    whole = SlidingWindowInferer((64, 64), 4, 0.25, mode="gaussian")(
        torch.from_numpy(picture.pixels)[None].float(), run
    )[0]
    blocks = list(SlideWindows(64, block=512)(picture, run, ["one", "other"], lambda *_: True))
    assert len(blocks) == -(-size[0] // 512) * -(-size[1] // 512)
    for block in blocks:
        rows, columns = slice(block.top, block.top + block.height), slice(block.left, block.left + block.width)
        assert block.logits.shape == (2, 2, block.height, block.width)
        for logits in block.logits:
            torch.testing.assert_close(logits, whole[:, rows, columns], rtol=1e-4, atol=1e-3)


def test_what_is_not_wanted_is_not_read_and_background():
    asked = []

    def watched(images, texts):
        asked.append(len(images))
        return run(images)

    windows = SlideWindows(64, block=512)
    blocks = list(windows(Picture(600, 600), watched, ["one"], lambda top, left, side: top == left == 0))
    assert sum(asked) == 1
    assert [block.logits is None for block in blocks] == [False, True, True, True]
    assert blocks[0].logits[0, 0, 100, 100] == 20
    assert blocks[0].logits[0, :, :64, :64].std() > 1


def test_a_slide_smaller_than_a_window_is_an_error():
    with pytest.raises(ValueError, match="windows of 64 pixels do not fit into 80 x 50; use smaller ones"):
        next(iter(SlideWindows(64)(Picture(50, 80), run, [""], lambda *_: True)))

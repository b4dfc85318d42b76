"""Whether what is asked for is there, as the mask tells it."""

from __future__ import annotations

import pytest
import torch

from textdiff_monai import PresenceAUC, TextInferer


def logits_of(said):
    foreground = torch.tensor(said)[None]
    return torch.stack([1 - foreground, foreground]).log()


def area(*items):
    """Of items: foreground probabilities and truth, lists of pixels."""
    metric = PresenceAUC()
    for said, truth in items:
        there = torch.tensor(truth)[None].float()
        metric([logits_of(said)], [torch.stack([1 - there, there])])
    return metric.aggregate()


def test_a_surer_mask_tells_that_the_target_is_there():
    items = [([0.9, 0.8], [1, 0]), ([0.4, 0.1], [0, 1]), ([0.6, 0.1], [0, 0]), ([0.3, 0.3], [0, 0])]
    assert area(*items).item() == pytest.approx(3 / 4)


def test_one_sure_pixel_among_unsure_ones_counts_little():
    items = [([0.8, 0.8, 0.8], [1, 1, 1]), ([0.9, 0.55, 0.55], [0, 0, 0])]
    assert area(*items).item() == 1


def test_without_absent_targets_there_is_nothing_to_tell():
    assert torch.isnan(area(([0.9, 0.1], [1, 0])))


@pytest.mark.parametrize(("least", "marked"), [(0.6, True), (0.75, False)])
def test_a_mask_that_is_too_unsure_is_left_out(least, marked):
    """Its mean is 0.7; where it is left out its probabilities stay in order."""
    logits = logits_of([0.8, 0.6, 0.1])[None]
    found = TextInferer(read_text=False, least_presence=least)(torch.zeros(1, 3, 1, 3), lambda image: logits)
    assert found.argmax(1).any().item() is marked
    foreground = found.softmax(1)[0, 1, 0]
    assert foreground[0] > foreground[1] > foreground[2] > 0
    assert marked or foreground[0] < 0.5


def test_of_several_classes_none_is_left_where_the_mask_is_left_out():
    logits = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.2, 0.9]]).reshape(1, 3, 1, 2)
    inferer = TextInferer(read_text=False, least_presence=0.9)
    assert not inferer(torch.zeros(1, 3, 1, 2), lambda image: logits).argmax(1).any()

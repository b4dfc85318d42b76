"""What a checkpoint keeps of its training's data: of captions that are not read, and of tiles, less."""

from __future__ import annotations

import torch
from monai.data import MetaTensor

from textdiff_monai import training_facts

ITEMS = [{"image": f"{text} {n}", "text": text} for text in ("Segment the left lung.", "Optic disc.") for n in range(3)]


def read(item):
    value = 0.5 if "lung" in item["text"] else -0.5
    image = torch.full((3, 32, 32), value) + 0.1 * torch.rand(3, 32, 32)
    return {"image": MetaTensor(image), "label": torch.ones(1, 32, 32)}


def test_facts_are_kept_of_what_the_network_reads_and_sees(network):
    unread = training_facts(ITEMS, network, 32, read_text=False, read=read)
    assert unread.keys() == {"words", "targets"}
    assert unread["targets"] == ["lung", "optic disc"]
    of_tiles = training_facts(ITEMS, network, 32)
    assert of_tiles.keys() - unread.keys() == {"centres", "radius"}
    assert training_facts(ITEMS, network, 32, read=read).keys() - of_tiles.keys() == {"pictures"}

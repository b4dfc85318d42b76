"""Pictures of another kind than those that show a target in training are told apart, by the features alone."""

from __future__ import annotations

import json

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from textdiff_monai import Familiarity, TextInferer
from textdiff_monai.engines.familiarity import pictures_facts

DISC, LUNG, STONES = "Segment the optic disc.", "Segment the left lung.", "Segment the kidney stones."
SIDE = 32


def picture(kind, seed):
    """Red with fine grain, or blue with coarse grain."""
    generator = torch.Generator().manual_seed(seed)
    grain = torch.rand(1, 3, *((SIDE, SIDE) if kind == "fundus" else (4, 4)), generator=generator)
    colour = torch.tensor([0.5, -0.5, -0.8] if kind == "fundus" else [-0.8, -0.5, 0.5])[:, None, None]
    return colour + 0.4 * (nn.functional.interpolate(grain, (SIDE, SIDE))[0] - 0.5)


def item(kind, seed, text, there=True):
    label = torch.full((1, SIDE, SIDE), float(there))
    return {"image": f"{kind} {seed}", "text": text, "kind": kind, "seed": seed, "label": label}


def read(one):
    return {"image": MetaTensor(picture(one["kind"], one["seed"])), "label": one["label"]}


@pytest.fixture
def items():
    both = [item("fundus", seed, DISC) for seed in range(8)] + [item("film", seed, LUNG) for seed in range(8)]
    return both + [item("film", seed, DISC, there=False) for seed in range(4)]


@pytest.fixture
def familiarity(items, network):
    facts = json.loads(json.dumps(pictures_facts(items, read, network, SIDE)))["pictures"]
    return Familiarity(facts, network, SIDE)


def test_a_target_of_other_pictures_is_doubted_and_its_own_are_not(familiarity):
    images = torch.stack([picture(kind, seed) for seed in (20, 21) for kind in ("fundus", "film")])
    assert familiarity(images, [DISC, LUNG] * 2) == [""] * 4
    doubts = familiarity(images, [LUNG, DISC] * 2)
    assert all("unlike the training pictures that show" in doubt for doubt in doubts)
    assert "optic disc" in doubts[1]


def test_what_training_never_showed_or_a_sentence_does_not_name_is_not_judged(familiarity):
    assert familiarity(picture("film", 20)[None].expand(3, -1, -1, -1), [STONES, "", "and here?"]) == [""] * 3


def test_larger_pictures_are_compared_at_the_size_of_the_training(familiarity):
    large = nn.functional.interpolate(picture("film", 20)[None], (80, 64), mode="bilinear")
    assert familiarity(large, [LUNG]) == [""]
    assert familiarity(large, [DISC]) != [""]


@pytest.mark.parametrize(
    "told",
    [
        [item("fundus", seed, DISC) for seed in range(3)],
        [item("fundus", seed, text) for seed in range(3) for text in (DISC, STONES)],
    ],
    ids=["one target", "all targets in all pictures"],
)
def test_pictures_that_all_show_the_same_tell_nothing(told, network):
    assert pictures_facts(told, read, network, SIDE) == {}


def test_of_volumes_and_other_networks_nothing_is_kept(items, network):
    volume = {"image": MetaTensor(torch.zeros(1, SIDE, SIDE, 4)), "label": torch.ones(1, SIDE, SIDE, 4)}
    assert pictures_facts(items, lambda _: volume, network, SIDE) == {}
    assert pictures_facts([{**one, "slice": 3} for one in items], read, network, SIDE) == {}
    assert pictures_facts(items, read, nn.Identity(), SIDE) == {}


def test_nothing_is_marked_in_such_a_picture_and_the_doubt_says_why(familiarity):
    class Marks(nn.Module):
        def forward(self, image, text=None):
            return torch.stack([torch.zeros_like(image[:, 0]), torch.ones_like(image[:, 0])], 1)

    batch = MetaTensor(torch.stack([picture("film", 20), picture("film", 20)]))
    batch.meta |= {"text": [LUNG, DISC], "doubt": ["", "unknown words: xyz"]}
    with pytest.warns(UserWarning, match="nothing is marked: .*only_familiar"):
        logits = TextInferer(resize=SIDE, familiarity=familiarity)(batch, Marks())
    marked = logits.argmax(1).flatten(1).float().mean(1)
    assert marked.tolist() == [1, 0]
    assert logits.softmax(1)[1, 1].max() < 1e-6
    assert batch.meta["doubt"][0] == ""
    assert batch.meta["doubt"][1].startswith("unknown words: xyz; the picture is unlike")
    assert TextInferer(resize=SIDE)(batch, Marks()).argmax(1).all()

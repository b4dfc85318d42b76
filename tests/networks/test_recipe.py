"""A checkpoint knows its recipe: it is saved and loaded unasked, and whatever contradicts it is named."""

from __future__ import annotations

import warnings

import pytest
import torch
from monai.networks.nets import BasicUNet
from monai.networks.utils import copy_model_state

from textdiff_monai import DiffusionBackbone, Recipe, TextDiff, TextEncoder, read_recipe, with_recipe

OPTIONS = {"channels": "RGB", "resize": 32, "head": {"channels": 8, "norm": ["instance", {"affine": True}]}}


def unet(**recipe):
    return with_recipe(BasicUNet(2, 3, 2, features=(4,) * 6), Recipe(**recipe))


@pytest.fixture
def checkpoint(tmp_path):
    torch.save(unet(**OPTIONS).state_dict(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_options_come_back_from_a_file(checkpoint):
    assert read_recipe(checkpoint) == OPTIONS
    assert set(torch.load(checkpoint, weights_only=True)) == set(unet().state_dict())


def test_the_same_options_load_and_others_are_named_with_both_values(checkpoint):
    state = torch.load(checkpoint, weights_only=True)
    unet(**OPTIONS).load_state_dict(state)
    other = unet(**OPTIONS | {"resize": 64, "head": {"channels": 8, "norm": "batch"}})
    expected = r"head\.norm \['instance', \{'affine': True\}\], given batch; trained with resize 32, given 64"
    for load in (other.load_state_dict, lambda state: copy_model_state(other, state)):
        with pytest.raises(ValueError, match=expected):
            load(state)


def test_an_option_that_the_checkpoint_does_not_know_is_no_contradiction(checkpoint):
    network = unet(tile=16)
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    torch.save(network.state_dict(), checkpoint)
    assert read_recipe(checkpoint) == OPTIONS | {"tile": 16}
    with pytest.raises(ValueError, match=r"trained with head\.heads unknown, given 2"):
        Recipe(checkpoint, head=OPTIONS["head"] | {"heads": 2})


def test_a_file_is_compared_at_once_and_named(checkpoint):
    assert Recipe(checkpoint, resize=32).options == {"resize": 32}
    with pytest.raises(ValueError, match=r"model\.pt has another recipe: trained with resize 32, given None"):
        Recipe(checkpoint, resize=None)
    with pytest.raises(ValueError, match="trained with channels RGB, given BGR"):
        Recipe(checkpoint, resize=32).describe(channels="BGR")


def test_who_insists_gets_a_warning_and_the_options_given(checkpoint):
    with pytest.warns(UserWarning, match="trained with resize 32, given 64"):
        network = unet(checkpoint=checkpoint, override=True, resize=64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.load_state_dict(torch.load(checkpoint, weights_only=True))  # said once
    assert network.recipe.options == {"resize": 64}
    assert network.recipe.facts == {name: OPTIONS[name] for name in ("channels", "head")}


def test_facts_travel_with_the_weights_and_contradict_nothing(checkpoint):
    network = unet(**OPTIONS)
    network.recipe.facts["targets"] = {"optic disc": 0.82}
    other = unet(**OPTIONS)
    other.recipe.facts["targets"] = {"lung": 0.9}
    other.load_state_dict(network.state_dict())
    assert other.recipe.facts == {"targets": {"optic disc": 0.82}}
    torch.save(other.state_dict(), checkpoint)
    assert read_recipe(checkpoint) == OPTIONS | other.recipe.facts


def test_a_long_recipe_is_whole(tmp_path):
    words = [f"word {number}" for number in range(10_000)]
    torch.save(unet(words=words).state_dict(), tmp_path / "model.pt")
    assert read_recipe(tmp_path / "model.pt")["words"] == words


def test_a_network_describes_what_rebuilds_it(network, unet_folder, bert_folder, tmp_path):
    torch.save(network.state_dict(), tmp_path / "model.pt")
    known = read_recipe(tmp_path / "model.pt")
    of_head = ("head", "norm", "detail_channels")
    assert set(known) == {"blocks", "steps", "noise_seed", "max_tokens", "mask_padding", "encoders", *of_head}
    backbone = DiffusionBackbone(unet_folder, known["blocks"], known["steps"], known["noise_seed"])
    encoder = TextEncoder(bert_folder, known["max_tokens"], known["mask_padding"])
    head = known["head"] | {name: known[name] for name in of_head[1:]}
    twin = TextDiff(backbone, encoder, head=head).eval()
    twin.load_state_dict(network.state_dict())
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(twin(image, "left lung"), network(image, "left lung"))


def test_what_is_no_checkpoint_with_a_recipe_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.pt does not exist"):
        read_recipe(tmp_path / "model.pt")
    (tmp_path / "model.pt").write_text("no zip")
    with pytest.raises(ValueError, match=r"model\.pt: not a readable PyTorch checkpoint"):
        read_recipe(tmp_path / "model.pt")
    torch.save({"head.weight": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt: the checkpoint has no recipe; .*import-head"):
        read_recipe(tmp_path / "model.pt")


def test_what_a_recipe_does_not_know_has_to_be_given(checkpoint):
    with pytest.raises(ValueError, match=r"model\.pt does not record the tile it was trained with; give --tile"):
        read_recipe(checkpoint)["tile"]


def test_class_names_are_as_many_as_classes(unet_folder, bert_folder):
    recipe = Recipe(class_names=["background", "target"])
    with pytest.raises(ValueError, match="name 2 classes, num_classes is 3"):
        TextDiff(DiffusionBackbone(unet_folder, [1], [50]), TextEncoder(bert_folder), 3, recipe=recipe)


@pytest.mark.parametrize(("option", "least"), [({"resize": -5}, 1), ({"tile": 0}, 1), ({"num_classes": 1}, 2)])
def test_sizes_and_classes_that_cannot_be_are_refused(option, least):
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"{name} {value}: expected {least} or more"):
        Recipe(**option)

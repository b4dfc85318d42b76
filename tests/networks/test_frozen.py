"""Frozen branches: never trained, not in checkpoints, and never exchanged unasked."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from ignite.engine import Engine
from ignite.handlers import Checkpoint
from monai.handlers import CheckpointLoader, CheckpointSaver
from monai.networks.utils import copy_model_state
from safetensors.torch import load_file, save_file
from torch import nn

from textdiff_monai import DiffusionBackbone, TextDiff, TextEncoder
from textdiff_monai.networks.frozen import Frozen, content_hash

HEAD = {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": (8, 8)}
OTHER_BACKBONES = {
    "weights": {},
    "blocks": {"blocks": (0, 3)},
    "steps": {"steps": (50, 251)},
    "steps of another length": {"steps": (5, 250)},
    "noise": {"noise_seed": 41},
}
OTHER_ENCODERS = {"weights": {}, "max_length": {"max_length": 10}}
OTHERS = [("backbone", name) for name in OTHER_BACKBONES] + [("text_encoder", name) for name in OTHER_ENCODERS]


def build(unet_folder, bert_folder, encoder=None, seed=1, **backbone):
    torch.manual_seed(seed)
    backbone = DiffusionBackbone(unet_folder, **{"blocks": (1, 3), "steps": (50, 250)} | backbone)
    return TextDiff(backbone, TextEncoder(bert_folder, **encoder or {}), head=HEAD).eval()


@pytest.fixture
def other_unet(unet_folder, tmp_path):
    unet = UNet2DModel.from_pretrained(unet_folder)
    with torch.no_grad():
        unet.conv_in.bias[0] += 0.01
    unet.save_pretrained(tmp_path / "other_unet")
    return tmp_path / "other_unet"


@pytest.fixture
def other_bert(bert_folder, tmp_path):
    folder = tmp_path / "other_bert"
    folder.mkdir()
    for path in bert_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    save_file(tensors | {name: tensors[name] + 0.01}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def others(unet_folder, bert_folder, other_unet, other_bert):
    """Networks beside another frozen branch, whose heads have the same shapes."""

    def build_other(part, name):
        if part == "backbone":
            return build(other_unet if name == "weights" else unet_folder, bert_folder, **OTHER_BACKBONES[name])
        return build(unet_folder, other_bert if name == "weights" else bert_folder, OTHER_ENCODERS[name])

    return build_other


@pytest.fixture
def twin(unet_folder, bert_folder):
    """The same frozen branches as the network's beside another head."""
    return build(unet_folder, bert_folder)


def frozen_tensors(network):
    modules = (network.backbone, network.text_encoder)
    pairs = [pair for module in modules for pair in [*module.named_parameters(), *module.named_buffers()]]
    assert len(pairs) > 50
    return [(name, tensor.detach().clone()) for name, tensor in pairs]


def assert_unchanged(network, before):
    for (name, then), (same_name, now) in zip(before, frozen_tensors(network), strict=True):
        assert name == same_name
        assert torch.equal(then, now), name


def logits(network):
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        return network(image, ["left lung", ""])


def train_steps(network, parameters, steps=2):
    optimizer = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.rand(2, 3, 8, 8), ["left lung", "right"]).square().mean().backward()
        optimizer.step()


def test_training_changes_every_tensor_of_the_head_and_none_that_is_frozen(network):
    frozen = frozen_tensors(network)
    head = {name: tensor.clone() for name, tensor in network.head.state_dict().items()}
    train_steps(network, network.parameters())  # all parameters on purpose: freezing must not hang on the optimizer
    assert_unchanged(network, frozen)
    assert all(parameter.grad is None for name, parameter in network.named_parameters() if not name.startswith("head."))
    assert not [name for name, tensor in network.head.state_dict().items() if torch.equal(tensor, head[name])]


def test_only_the_head_asks_for_gradients(network):
    asking = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert asking == {"head"}
    assert all(parameter.requires_grad for parameter in network.head.parameters())


def test_train_leaves_the_frozen_branches_in_eval_mode(network):
    network.train()
    assert network.head.training
    for branch in (network.backbone, network.text_encoder):
        assert not any(module.training for module in branch.modules())
        assert branch.train() is branch
        assert not any(module.training for module in branch.modules())


def test_norm_statistics_and_dropout_of_a_frozen_module_stay_off():
    class Normalised(Frozen):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
            self.freeze({"kind": "normalised"})

        def forward(self, x):
            return self.layers(x)

    module, x = Normalised().train(), torch.randn(8, 3) + 5
    before = [buffer.clone() for buffer in module.buffers()]
    assert torch.equal(module(x), module(x))
    assert len(before) == 3
    assert all(torch.equal(then, now) for then, now in zip(before, module.buffers(), strict=True))


def test_the_state_dict_holds_the_head_and_the_recipe_alone(network):
    state = network.state_dict()
    assert {name for name in state if not name.startswith("head.")} == {"recipe._extra_state"}
    assert {name.removeprefix("head.") for name in state if name.startswith("head.")} == set(network.head.state_dict())
    frozen = sum(tensor.nbytes for _, tensor in frozen_tensors(network))
    head = sum(tensor.nbytes for tensor in network.head.state_dict().values())
    assert sum(tensor.nbytes for tensor in state.values()) < head + 20_000 < frozen


def named(part, what):
    """How a recipe names what differs."""
    names = {"weights": f"encoders.{part}.weights", "noise": "noise_seed", "max_length": "max_tokens"}
    return names.get(what.split()[0], what.split()[0])


def strictly(target, source):
    result = target.load_state_dict(source.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys


def through_a_file(target, source):
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    target.load_state_dict(torch.load(file, weights_only=True))


def by_copy_model_state(target, source):
    _, changed, unchanged = copy_model_state(target, source)
    assert "recipe._extra_state" in changed
    assert not unchanged


def by_ignite(target, source):
    Checkpoint.load_objects(to_load={"model": target}, checkpoint={"model": source.state_dict()})


LOADERS = [strictly, through_a_file, by_copy_model_state, by_ignite]


@pytest.mark.parametrize("load", LOADERS)
def test_loading_makes_the_same_network(network, twin, load):
    train_steps(network, network.head.parameters(), steps=1)
    network.eval()
    frozen = frozen_tensors(twin)
    assert not torch.allclose(logits(network), logits(twin))
    load(twin, network)
    assert torch.equal(logits(network), logits(twin))
    assert_unchanged(twin, frozen)


def test_monai_saves_and_loads_checkpoints(network, twin, tmp_path):
    trainer = Engine(lambda engine, batch: None)
    CheckpointSaver(str(tmp_path), {"model": network}, save_final=True, final_filename="model.pt").attach(trainer)
    trainer.run([0], max_epochs=1)
    assert not torch.allclose(logits(network), logits(twin))
    evaluator = Engine(lambda engine, batch: None)
    CheckpointLoader(str(tmp_path / "model.pt"), {"model": twin}, map_location="cpu").attach(evaluator)
    evaluator.run([0], max_epochs=1)
    assert torch.equal(logits(network), logits(twin))


def test_a_deep_copy_is_whole_and_apart(network):
    expected, other = logits(network), copy.deepcopy(network)
    assert torch.equal(logits(other), expected)
    assert not any(p.requires_grad for p in [*other.backbone.parameters(), *other.text_encoder.parameters()])
    train_steps(other, other.head.parameters(), steps=1)
    assert torch.equal(logits(network), expected)
    network.load_state_dict(other.state_dict())
    assert torch.equal(logits(network), logits(other.eval()))


@pytest.mark.parametrize(("part", "what"), OTHERS)
@pytest.mark.parametrize("strict", [True, False])
def test_loading_beside_another_branch_is_an_error_that_names_what_differs(network, others, part, what, strict):
    other = others(part, what)
    head = {name: tensor.clone() for name, tensor in other.head.state_dict().items()}
    with pytest.raises(ValueError, match="another recipe") as caught:
        other.load_state_dict(network.state_dict(), strict=strict)
    assert str(caught.value).count(", given ") == 1
    assert named(part, what) in str(caught.value)
    assert all(torch.equal(tensor, head[name]) for name, tensor in other.head.state_dict().items())


@pytest.mark.parametrize(("part", "what"), OTHERS)
def test_monai_cannot_load_beside_another_branch_either(network, others, part, what, tmp_path):
    other = others(part, what)
    with pytest.raises(ValueError, match=named(part, what)):
        copy_model_state(other, network)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    for strict in (True, False):
        evaluator = Engine(lambda engine, batch: None)
        evaluator.logger.disabled = True
        CheckpointLoader(str(tmp_path / "model.pt"), {"model": other}, strict=strict).attach(evaluator)
        with pytest.raises(ValueError, match=named(part, what)):
            evaluator.run([0], max_epochs=1)


@pytest.mark.parametrize("strict", [True, False])
def test_both_branches_are_named_where_both_differ(network, unet_folder, bert_folder, strict):
    other = build(unet_folder, bert_folder, {"max_length": 10}, steps=(50, 251))
    with pytest.raises(ValueError, match="another recipe") as caught:
        other.load_state_dict(network.state_dict(), strict=strict)
    for words in ("steps [50, 250], given [50, 251]", "max_tokens 24, given 10"):
        assert words in str(caught.value)


def with_frozen_weights(network):
    state = network.state_dict()
    for part, branch in (("backbone.unet", network.backbone.unet), ("text_encoder.model", network.text_encoder.model)):
        state |= {f"{part}.{name}": tensor + 1 for name, tensor in branch.state_dict().items()}
    return state


def test_a_state_with_frozen_weights_is_refused(network):
    before, state = frozen_tensors(network), with_frozen_weights(network)
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\).*backbone\.unet\.conv_in\.weight"):
        network.load_state_dict(state)
    assert_unchanged(network, before)


def test_frozen_weights_are_reported_and_left_out_under_strict_false(network):
    before, state = frozen_tensors(network), with_frozen_weights(network)
    result = network.load_state_dict(state, strict=False)
    assert_unchanged(network, before)
    assert set(result.unexpected_keys) == set(state) - set(network.state_dict())
    assert not result.missing_keys


def test_a_missing_recipe_is_a_missing_key_and_the_only_one(network):
    state = network.state_dict()
    del state["recipe._extra_state"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "recipe\._extra_state"\.'):
        network.load_state_dict(state)
    assert network.load_state_dict(state, strict=False).missing_keys == ["recipe._extra_state"]


def test_missing_keys_of_the_head_are_still_reported(network):
    state = network.state_dict()
    del state["head.classifier.0.weight"]
    assert network.load_state_dict(state, strict=False).missing_keys == ["head.classifier.0.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key\(s\).*head\.classifier\.0\.weight"):
        network.load_state_dict(state)


def test_a_content_hash_is_that_of_names_shapes_and_values():
    one, two = torch.arange(6.0).reshape(2, 3), torch.tensor([1, 2])
    expected = content_hash({"one": one, "two": two})
    assert content_hash({"two": two, "one": one.half()}) == expected
    assert content_hash({"one": one.clone().requires_grad_(), "two": two.clone()}) == expected
    assert content_hash({"one": one.T.contiguous().T, "two": two}) == expected
    others = [
        {"one": one, "two": two + 1},
        {"one": one, "three": two},
        {"one": one.reshape(3, 2), "two": two},
        {"one": one},
    ]
    assert len({expected, *map(content_hash, others)}) == 5


def test_copies_hold_the_same_frozen_tensors_and_a_head_of_their_own(network):
    twin = copy.deepcopy(network)
    for name in ("backbone", "text_encoder"):
        pairs = zip(getattr(network, name).parameters(), getattr(twin, name).parameters(), strict=True)
        assert all(one is not other and one.data_ptr() == other.data_ptr() for one, other in pairs)
    assert twin.backbone.alphas_cumprod.data_ptr() == network.backbone.alphas_cumprod.data_ptr()
    heads = zip(network.head.parameters(), twin.head.parameters(), strict=True)
    assert all(one.data_ptr() != other.data_ptr() for one, other in heads)
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(network(image, "left"), twin(image, "left"))


def test_moving_a_copy_leaves_the_original_where_it_is(network):
    before = network(torch.zeros(1, 3, 16, 16), "left")
    twin = copy.deepcopy(network)
    twin.to(torch.float64)
    assert {p.dtype for p in twin.parameters()} == {torch.float64}
    twin.to("meta")
    assert {(p.device.type, p.dtype) for p in network.parameters()} == {("cpu", torch.float32)}
    assert torch.equal(network(torch.zeros(1, 3, 16, 16), "left"), before)
    back = copy.deepcopy(network)
    assert not any(p.requires_grad for p in back.backbone.parameters())
    assert back.backbone.training is False


@pytest.mark.parametrize("encoder", [DiffusionBackbone, TextEncoder])
@pytest.mark.parametrize("source", ["/nowhere/encoder", "./encoder", "some/where/encoder", Path("encoder")])
def test_a_folder_that_is_not_there_is_no_name_on_a_hub(encoder, source):
    with pytest.raises(FileNotFoundError, match="encoder: is not a folder; give the encoder's folder"):
        encoder(source)

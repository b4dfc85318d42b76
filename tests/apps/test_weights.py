"""Importing published checkpoints: all of them or none, and in the order the published attention computed."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel

from benchmarks.stand_ins import MULTIPLIERS, adm_shapes, fill, head_shapes
from textdiff_monai import DiffusionBackbone, SegmentationHead, import_adm, load_published_head

HEAD_CHANNELS = 16
SHARED, ALONE = "down2", "down1"


def options(image_size):
    return {"num_channels": 32, "image_size": image_size, "channel_mult": ""}


def adm(image_size=64):
    return fill(adm_shapes(options(image_size)))


@pytest.fixture(scope="module")
def small():
    """A guided-diffusion state dict for images of 64 x 64 pixels."""
    return adm()


@pytest.fixture
def convert(tmp_path):
    def convert(state, name="adm.pt", head_channels=HEAD_CHANNELS):
        torch.save(state, tmp_path / name)
        return import_adm(tmp_path / name, tmp_path / "unet", head_channels)

    return convert


def assert_refused(convert, folder, state, *words):
    """Converting fails with an error that has the file and all words, and leaves nothing but the file."""
    with pytest.raises(ValueError, match=re.escape(str(folder / "adm.pt"))) as caught:
        convert(state)
    assert [word for word in words if word not in str(caught.value)] == []
    assert [path.name for path in folder.iterdir()] == ["adm.pt"]


@pytest.mark.parametrize("image_size", [64, 128])
def test_sizes_and_options_are_those_of_the_tensors(convert, image_size):
    state, multipliers = adm(image_size), MULTIPLIERS[image_size]
    folder = convert(state)
    config = UNet2DModel.load_config(folder)
    attentive = [2**level in [image_size // r for r in (32, 16, 8)] for level in range(len(multipliers))]
    assert config["block_out_channels"] == [32 * m for m in multipliers]
    assert config["layers_per_block"] == 2
    down, up = (("AttnDownBlock2D", "ResnetDownsampleBlock2D"), ("AttnUpBlock2D", "ResnetUpsampleBlock2D"))
    assert config["down_block_types"] == [down[not a] for a in attentive]
    assert config["up_block_types"] == [up[not a] for a in reversed(attentive)]
    assert config["attention_head_dim"] == HEAD_CHANNELS
    assert config["resnet_time_scale_shift"] == "scale_shift"
    assert (config["in_channels"], config["out_channels"]) == (3, 6)
    unet = UNet2DModel.from_pretrained(folder)
    assert sum(p.numel() for p in unet.parameters()) == sum(tensor.numel() for tensor in state.values())
    with torch.no_grad():
        output = unet.eval()(torch.randn(1, 3, 32, 32), 50).sample
    assert torch.isfinite(output).all()
    backbone = DiffusionBackbone(folder, blocks=(4, 6, 8), steps=(50, 250))
    assert backbone.divisor == 2 ** (len(multipliers) - 1)
    assert backbone.out_channels == [2 * 32 * multipliers[len(multipliers) - 1 - block // 3] for block in (4, 6, 8)]


def test_every_tensor_keeps_its_values(convert, small):
    ours = UNet2DModel.from_pretrained(convert(small)).state_dict()
    for old, new in {
        "time_embed.2.weight": "time_embedding.linear_2.weight",
        "input_blocks.0.0.weight": "conv_in.weight",
        "input_blocks.4.0.in_layers.2.weight": "down_blocks.1.resnets.0.conv1.weight",
        "input_blocks.4.0.skip_connection.bias": "down_blocks.1.resnets.0.conv_shortcut.bias",
        "input_blocks.3.0.emb_layers.1.weight": "down_blocks.0.downsamplers.0.time_emb_proj.weight",
        "middle_block.2.out_layers.3.weight": "mid_block.resnets.1.conv2.weight",
        "output_blocks.2.2.out_layers.0.weight": "up_blocks.0.upsamplers.0.norm2.weight",
        "output_blocks.11.0.in_layers.0.bias": "up_blocks.3.resnets.2.norm1.bias",
        "out.2.weight": "conv_out.weight",
    }.items():
        assert torch.equal(ours[new], small[old]), new
    total = sum(tensor.double().sum() for tensor in ours.values())
    torch.testing.assert_close(total, sum(tensor.double().sum() for tensor in small.values()))


def test_the_linear_noise_schedule_is_written_beside_the_weights(convert, small):
    config = json.loads((convert(small) / "scheduler_config.json").read_text())
    assert config["num_train_timesteps"] == 1000
    assert (config["beta_schedule"], config["beta_start"], config["beta_end"]) == ("linear", 1e-4, 0.02)


@pytest.mark.parametrize(("old", "new"), [("input_blocks.4.1", "down_blocks.1.attentions.0"),
                                          ("middle_block.1", "mid_block.attentions.0"),
                                          ("output_blocks.2.1", "up_blocks.0.attentions.2")])  # fmt: skip
def test_attention_is_computed_in_the_legacy_order(convert, small, old, new):
    attention = UNet2DModel.from_pretrained(convert(small)).eval().get_submodule(new)
    width = small[f"{old}.norm.weight"].shape[0]
    x = torch.randn(2, width, 3, 4, generator=torch.Generator().manual_seed(0))

    # QKVAttentionLegacy of guided-diffusion: heads first, then query, key and value of each.
    h = torch.group_norm(x, 32, small[f"{old}.norm.weight"], small[f"{old}.norm.bias"], eps=1e-5).flatten(2)
    qkv = torch.einsum("oc,bcn->bon", small[f"{old}.qkv.weight"][..., 0], h) + small[f"{old}.qkv.bias"][:, None]
    q, k, v = qkv.reshape(2 * width // HEAD_CHANNELS, 3 * HEAD_CHANNELS, 12).split(HEAD_CHANNELS, dim=1)
    weight = torch.softmax(torch.einsum("bct,bcs->bts", q, k) / np.sqrt(HEAD_CHANNELS), dim=-1)
    read = torch.einsum("bts,bcs->bct", weight, v).reshape(2, width, 12)
    out = torch.einsum("oc,bcn->bon", small[f"{old}.proj_out.weight"][..., 0], read)
    expected = x + (out + small[f"{old}.proj_out.bias"][:, None]).unflatten(2, (3, 4))

    with torch.no_grad():
        torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_half_precision_checkpoints_give_single_precision_folders(convert, small, tmp_path):
    half = UNet2DModel.from_pretrained(convert({name: tensor.half() for name, tensor in small.items()}))
    assert {tensor.dtype for tensor in half.state_dict().values()} == {torch.float32}
    assert torch.equal(half.conv_in.weight, small["input_blocks.0.0.weight"].half().float())
    image = torch.rand(1, 3, 16, 16)
    single = import_adm(torch_saved(small, tmp_path / "single.pt"), tmp_path / "single", HEAD_CHANNELS)
    features = [DiffusionBackbone(tmp_path / f, blocks=(8,), steps=(50,))(image)[0] for f in ("unet", "single")]
    torch.testing.assert_close(*features, rtol=0, atol=0.02 * features[1].abs().max().item())
    assert single == tmp_path / "single"


def test_checkpoints_in_the_format_before_pytorch_1_6_are_read(small, tmp_path):
    torch.save(small, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    folder = import_adm(tmp_path / "old.pt", tmp_path / "unet", HEAD_CHANNELS)
    assert torch.equal(UNet2DModel.from_pretrained(folder).conv_in.weight, small["input_blocks.0.0.weight"])


def torch_saved(content, path):
    torch.save(content, path)
    return path


def test_leftover_keys_are_an_error_that_names_them_all(convert, small, tmp_path):
    extra = {"input_blocks.99.0.weight": torch.zeros(1), "ema_decay": torch.zeros(1)}
    assert_refused(convert, tmp_path, small | extra, *extra)


@pytest.mark.parametrize(
    "missing",
    ["time_embed.0.weight", "out.2.bias", "input_blocks.5.1.qkv.bias", "middle_block.1.norm.weight",
     "input_blocks.4.0.skip_connection.weight", "output_blocks.0.0.skip_connection.bias"],
)  # fmt: skip
def test_a_missing_key_is_an_error_that_names_it(convert, small, tmp_path, missing):
    assert_refused(convert, tmp_path, {name: tensor for name, tensor in small.items() if name != missing}, missing)


def test_all_missing_keys_are_named(convert, small, tmp_path):
    missing = ["time_embed.0.bias", "middle_block.0.in_layers.0.weight", "out.2.weight"]
    assert_refused(convert, tmp_path, {n: t for n, t in small.items() if n not in missing}, *missing)


def test_a_missing_projection_of_the_skip_connection_is_an_error(convert, small, tmp_path):
    state = {name: t for name, t in small.items() if not name.startswith("input_blocks.4.0.skip_connection.")}
    assert_refused(convert, tmp_path, state)


def test_a_tensor_of_another_shape_is_an_error(convert, small, tmp_path):
    assert_refused(convert, tmp_path, small | {"out.2.bias": torch.zeros(5)})


def test_class_conditional_checkpoints_are_an_error_that_says_so(convert, small, tmp_path):
    assert_refused(convert, tmp_path, small | {"label_emb.weight": torch.zeros(10, 128)}, "class-conditional")


def test_another_number_of_head_channels_that_does_not_fit_is_an_error(convert, small, tmp_path):
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "adm.pt"))):
        convert(small, head_channels=48)
    assert [path.name for path in tmp_path.iterdir()] == ["adm.pt"]


@pytest.mark.parametrize("content", [{}, {"weight": torch.zeros(2)}, {"epoch": 3}, [torch.zeros(2)], torch.zeros(2)])
def test_checkpoints_of_other_things_are_an_error_that_names_the_file(convert, tmp_path, content):
    assert_refused(convert, tmp_path, content)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 half a download"])
def test_files_that_are_no_checkpoint_are_an_error_that_names_them(tmp_path, content):
    (tmp_path / "adm.pt").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "adm.pt"))):
        import_adm(tmp_path / "adm.pt", tmp_path / "unet", HEAD_CHANNELS)
    assert not (tmp_path / "unet").exists()


class Exploit:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('this must not run')",)


def test_code_in_a_checkpoint_is_not_run(convert, small, tmp_path):
    assert_refused(convert, tmp_path, small | {"exploit": Exploit()})


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt"):
        import_adm(tmp_path / "nothing.pt", tmp_path / "unet")
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_as_it_is(convert, small, tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text("mine")
    with pytest.raises(FileExistsError, match="unet"):
        convert(small)
    assert [path.read_text() for path in (tmp_path / "unet").iterdir()] == ["mine"]
    assert {path.name for path in tmp_path.iterdir()} == {"adm.pt", "unet"}


def test_folders_on_the_way_are_made_and_no_traces_left(small, tmp_path):
    torch.save(small, tmp_path / "adm.pt")
    folder = import_adm(tmp_path / "adm.pt", str(tmp_path / "a" / "b" / "unet"), HEAD_CHANNELS)
    assert folder == tmp_path / "a" / "b" / "unet"
    assert [path.name for path in folder.parent.iterdir()] == ["unet"]
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


PAPER_WIDTHS = [96, 64, 64, 64]


@pytest.fixture
def head():
    torch.manual_seed(0)
    return SegmentationHead(PAPER_WIDTHS, 768)


@pytest.fixture
def published_file(tmp_path):
    def save(state):
        return torch_saved(
            {"model_state_dict": state, "epoch": 7, "optimizer_state_dict": {"lr": 0.1}}, tmp_path / "h.pt"
        )

    return save


def assert_head_refused(head, path, *words):
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        load_published_head(head, path)
    assert [word for word in words if word not in str(caught.value)] == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.state_dict().items())


def test_every_tensor_of_a_published_head_finds_its_place(head, published_file):
    published = fill(head_shapes(PAPER_WIDTHS))
    load_published_head(head, published_file(published))
    ours = head.state_dict()
    assert len(ours) == len(published)
    for old, new in {
        "down1.weight": "project_first.weight",
        "down2.bias": "project_later.64.bias",
        "cross1.attn1.to_q.weight": "attention.attention1.to_q.weight",
        "cross1.attn2.to_v.weight": "attention.attention2.to_v.weight",
        "cross1.attn2.to_out.0.bias": "attention.attention2.to_out.bias",
        "cross1.attn1.to_out.1.weight": "attention.attention1.norm.weight",
        "cross1.norm3.bias": "attention.norm3.bias",
        "cross1.ff.net.2.weight": "attention.linear.weight",
        "decodes.0.weight": "classifier.0.weight",
        "decodes.4.running_var": "classifier.4.running_var",
        "decodes.1.num_batches_tracked": "classifier.1.num_batches_tracked",
        "decodes.6.bias": "classifier.6.bias",
    }.items():
        assert torch.equal(ours[new], published[old]), new
    total = sum(tensor.double().sum() for tensor in ours.values())
    torch.testing.assert_close(total, sum(tensor.double().sum() for tensor in published.values()))


def test_a_published_head_without_its_wrapping_loads_too(head, tmp_path):
    published = fill(head_shapes(PAPER_WIDTHS))
    load_published_head(head, torch_saved(published, tmp_path / "bare.pt"))
    assert torch.equal(head.project_first.weight, published["down1.weight"])


def test_half_precision_heads_load(head, published_file):
    published = fill(head_shapes(PAPER_WIDTHS))
    load_published_head(
        head, published_file({name: t.half() if t.is_floating_point() else t for name, t in published.items()})
    )
    assert torch.equal(head.project_first.weight, published["down1.weight"].half().float())
    assert head.classifier[1].num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize(("widths", "dropped"), [([768, 64], ALONE), ([96, 768], SHARED), ([96], SHARED)])
def test_a_projection_that_no_scale_needs_is_left_out(published_file, widths, dropped):
    torch.manual_seed(0)
    head = SegmentationHead(widths, 768)
    shapes = head_shapes(PAPER_WIDTHS) | {"decodes.0.weight": (128, 768 * len(widths), 3, 3)}
    published = fill(shapes)
    load_published_head(head, published_file(published))
    kept = ({ALONE, SHARED} - {dropped}).pop()
    projections = [tensor for name, tensor in head.state_dict().items() if name.startswith("project")]
    assert [tuple(tensor.shape) for tensor in projections] == [shapes[f"{kept}.weight"], shapes[f"{kept}.bias"]]
    assert torch.equal(projections[0], published[f"{kept}.weight"])


def test_unknown_keys_of_a_head_are_an_error_that_names_them(head, published_file):
    published = fill(head_shapes(PAPER_WIDTHS))
    assert_head_refused(
        head, published_file(published | {"cross2.norm1.weight": torch.ones(768)}), "cross2.norm1.weight"
    )


def test_missing_keys_of_a_head_are_an_error_that_names_them_all(head, published_file):
    published = fill(head_shapes(PAPER_WIDTHS))
    for name in ("down1.bias", "decodes.3.weight"):
        del published[name]
    assert_head_refused(head, published_file(published), "project_first.bias", "classifier.3.weight")


@pytest.mark.parametrize(
    ("widths", "words"),
    [
        ([95, 64, 64, 64], ("project_first.weight", "(768, 95, 1, 1)", "(768, 96, 1, 1)")),
        ([96, 48, 48, 48], ("project_later.64.weight",)),
    ],
)
def test_a_head_of_other_widths_is_an_error_that_names_what_does_not_fit(head, published_file, widths, words):
    assert_head_refused(head, published_file(fill(head_shapes(widths))), *words)


def test_a_head_of_another_number_of_classes_is_an_error_with_both_shapes(published_file):
    head = SegmentationHead(PAPER_WIDTHS, 768, num_classes=3)
    assert_head_refused(head, published_file(fill(head_shapes(PAPER_WIDTHS))), "(2, 32, 3, 3)", "(3, 32, 3, 3)")


def test_a_file_that_is_no_head_is_an_error_that_names_it(head, tmp_path):
    (tmp_path / "h.pt").write_bytes(b"nothing")
    assert_head_refused(head, tmp_path / "h.pt")
    assert_head_refused(head, torch_saved([1, 2], tmp_path / "list.pt"))


def test_what_is_no_checkpoint_is_told_in_a_line(tmp_path):
    (tmp_path / "adm.pt").write_text("no checkpoint")
    with pytest.raises(ValueError, match="not a readable PyTorch checkpoint") as caught:
        import_adm(tmp_path / "adm.pt", tmp_path / "unet")
    assert "\n" not in str(caught.value)

"""The diffusion backbone: the same activations as hooks on the whole UNet, and nothing more than that."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel

from textdiff_monai import DiffusionBackbone

PLAIN = {
    "sample_size": 32,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}
ATTENTION = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
RESNET = {
    "down_block_types": ("ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D"),
    "up_block_types": ("ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"),
}
ATTENTION_AND_RESNET = {
    "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "block_out_channels": (8, 8, 16),
    "layers_per_block": 2,
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "resnet_time_scale_shift": "scale_shift",
    "attn_norm_num_groups": 4,
}
UNETS = {
    "plain": {},
    "attention": ATTENTION,
    "resnet sampling": RESNET,
    "attention and resnet sampling": ATTENTION_AND_RESNET,
    "one level": {"block_out_channels": (8,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)},
    "no middle": {"mid_block_type": None},
    "one channel": {"in_channels": 1, "out_channels": 1},
    "centred input": {"center_input_sample": True},
    "fourier times": {"time_embedding_type": "fourier"},
}


def save_unet(folder, seed=0, **options):
    torch.manual_seed(seed)
    unet = UNet2DModel(**PLAIN | options)
    for parameter in unet.parameters():  # some layers start at zero, which would hide mistakes
        torch.nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.2)
    unet.save_pretrained(folder)
    return folder


def number_of_blocks(unet):
    return sum(len(level.resnets) for level in unet.up_blocks)


def modules_of_blocks(unet):
    """The module whose output is a block's activation, in the order of the blocks."""
    modules = []
    for level in unet.up_blocks:
        units = getattr(level, "attentions", level.resnets)
        modules += [*units[:-1], level]
    return modules


def hooked(folder, image, steps, scheduler=None, seed=40):
    """Activations of all blocks by hooks on the whole UNet, with diffusers' own noising; steps joined on channels."""
    unet = UNet2DModel.from_pretrained(folder).eval()
    noise = torch.zeros(1, *image.shape[1:])
    if seed is not None:
        noise = torch.randn(noise.shape, generator=torch.Generator().manual_seed(seed))
    noise = noise.expand_as(image)
    outputs = []
    for module in modules_of_blocks(unet):
        outputs.append([])
        module.register_forward_hook(lambda module, inputs, output, kept=outputs[-1]: kept.append(output))
    for step in steps:
        noisy = (scheduler or DDPMScheduler()).add_noise(image, noise, torch.full((len(image),), step))
        with torch.no_grad():
            unet(noisy, step)
    return [torch.cat(kept, dim=1) for kept in outputs]


def picture(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * b.abs().max().item())


@pytest.mark.parametrize("name", UNETS)
def test_every_block_gives_what_hooks_on_the_whole_unet_give(name, tmp_path):
    folder, steps = save_unet(tmp_path / "unet", **UNETS[name]), (10, 500)
    image = picture(2, UNETS[name].get("in_channels", 3), 8, 16)
    expected = hooked(folder, image, steps)
    blocks = list(range(len(expected)))
    backbone = DiffusionBackbone(folder, blocks=blocks, steps=steps)
    features = backbone(image)
    assert_same(features, expected)
    assert all(torch.isfinite(feature).all() and feature.std() > 0.01 for feature in features)
    assert backbone.out_channels == [feature.shape[1] for feature in expected]
    for block in blocks:  # each alone, where the UNet is left as early as it can be
        assert_same(DiffusionBackbone(folder, blocks=[block], steps=steps)(image), [expected[block]])


def test_blocks_and_steps_come_in_the_order_asked_for(unet_folder):
    image = picture(1, 3, 8, 8)
    forward = DiffusionBackbone(unet_folder, blocks=(0, 2, 3), steps=(50, 250))(image)
    backward = DiffusionBackbone(unet_folder, blocks=(3, 0, 2), steps=(250, 50))(image)
    for k, other in zip((0, 1, 2), (1, 2, 0), strict=True):
        first, second = forward[k].chunk(2, dim=1)
        assert torch.equal(backward[other], torch.cat([second, first], dim=1))


def test_an_image_has_the_same_features_alone_and_in_a_batch(unet_folder):
    backbone, images = DiffusionBackbone(unet_folder, blocks=(0, 3), steps=(50, 250)), picture(5, 3, 8, 8)
    together = backbone(images)
    for i in range(5):
        assert_same(backbone(images[i : i + 1]), [feature[i : i + 1] for feature in together])
    repeated = backbone(images[:1].repeat(3, 1, 1, 1))
    assert_same([feature[2:] for feature in repeated], [feature[:1] for feature in together])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_of_one_image_takes_batches(unet_folder):
    backbone = DiffusionBackbone(unet_folder, blocks=(0, 3), steps=(50, 250))
    trace = torch.jit.trace(backbone, picture(1, 3, 8, 16), check_trace=False)
    images = picture(5, 3, 8, 16)
    assert_same(trace(images), backbone(images))


def test_features_are_the_same_at_every_call_and_leave_the_random_state_alone(unet_folder):
    backbone, image = DiffusionBackbone(unet_folder, blocks=(3,), steps=(50,)), picture(1, 3, 8, 8)
    torch.manual_seed(1)
    state, first = torch.get_rng_state(), backbone(image)[0]
    assert torch.equal(torch.get_rng_state(), state)
    backbone(picture(1, 3, 16, 12))
    assert torch.equal(backbone(image)[0], first)


def test_a_size_that_cannot_be_halved_is_an_error_that_names_sizes_that_work(tmp_path):
    folder = save_unet(tmp_path / "unet", **ATTENTION_AND_RESNET)
    backbone = DiffusionBackbone(folder, blocks=(8,), steps=(50,))
    assert backbone.divisor == 4
    for height, width in ((10, 8), (8, 13), (7, 9), (3, 4)):
        with pytest.raises(ValueError, match=rf"\b{height} x {width}\b") as caught:
            backbone(picture(1, 3, height, width))
        heights, widths = re.search(r"a height of ([\d or]+) and a width of ([\d or]+)", str(caught.value)).groups()
        heights, widths = [int(h) for h in heights.split(" or ")], [int(w) for w in widths.split(" or ")]
        assert all(abs(h - height) < 4 for h in heights)
        assert all(abs(w - width) < 4 for w in widths)
        for h in heights:
            for w in widths:
                assert backbone(picture(1, 3, h, w))[0].shape[-2:] == (h, w)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 4, 8, 8), (3, 8, 8)])
def test_another_number_of_channels_or_axes_is_an_error_with_the_shape_expected(unet_folder, shape):
    backbone = DiffusionBackbone(unet_folder, blocks=(1,), steps=(50,))
    with pytest.raises(ValueError, match=re.escape("(B, 3, H, W)")):
        backbone(torch.zeros(shape))


@pytest.mark.parametrize("blocks", [(4,), (0, 7), (-1,), ()])
def test_blocks_that_the_unet_does_not_have_are_an_error_that_says_which_it_has(unet_folder, blocks):
    with pytest.raises(ValueError, match="0 to 3"):
        DiffusionBackbone(unet_folder, blocks=blocks, steps=(50,))


@pytest.mark.parametrize("steps", [(1000,), (50, -1), ()])
def test_steps_beyond_the_noise_schedule_are_an_error_that_says_which_it_has(unet_folder, steps):
    with pytest.raises(ValueError, match="0 to 999"):
        DiffusionBackbone(unet_folder, blocks=(1,), steps=steps)


def test_the_first_and_last_steps_of_the_schedule_work(unet_folder):
    image = picture(1, 3, 8, 8)
    features = DiffusionBackbone(unet_folder, blocks=(1, 3), steps=(0, 999))(image)
    assert_same(features, [hooked(unet_folder, image, (0, 999))[k] for k in (1, 3)])


def test_another_noise_seed_changes_the_features_and_is_what_torch_draws(unet_folder):
    image = picture(1, 3, 8, 8)
    features = DiffusionBackbone(unet_folder, blocks=(1,), steps=(250,), noise_seed=7)(image)
    assert_same(features, [hooked(unet_folder, image, (250,), seed=7)[1]])
    usual = DiffusionBackbone(unet_folder, blocks=(1,), steps=(250,))(image)
    assert not torch.allclose(features[0], usual[0], rtol=0.1)


def test_without_a_noise_seed_nothing_is_added_to_the_image(unet_folder):
    image = picture(1, 3, 8, 8)
    features = DiffusionBackbone(unet_folder, blocks=(1, 3), steps=(50, 250), noise_seed=None)(image)
    assert_same(features, [hooked(unet_folder, image, (50, 250), seed=None)[k] for k in (1, 3)])


@pytest.mark.parametrize(
    "options",
    [
        {"noise_seed": 41},
        {"noise_seed": None},
        {"steps": (50, 251)},
        {"steps": (250, 50)},
        {"blocks": (1,)},
        {"blocks": (3, 1)},
    ],
)
def test_identity_tells_options_apart(unet_folder, options):
    usual = {"blocks": (1, 3), "steps": (50, 250)}
    identity = DiffusionBackbone(unet_folder, **usual).identity
    assert DiffusionBackbone(unet_folder, **usual).identity == identity
    assert DiffusionBackbone(unet_folder, **usual | options).identity != identity


def test_identity_tells_weights_apart(tmp_path):
    folders = [save_unet(tmp_path / str(seed), seed) for seed in (0, 0, 1)]
    first, same, other = (DiffusionBackbone(folder, blocks=(1,), steps=(50,)).identity for folder in folders)
    assert first == same
    assert first != other


@pytest.mark.parametrize(
    "option",
    [{"norm_eps": 1e-3}, {"norm_num_groups": 2}, {"act_fn": "gelu"}, {"attention_head_dim": 2}, {"freq_shift": 1},
     {"center_input_sample": True}, {"attn_norm_num_groups": 2}, {"downsample_padding": 0}],
    ids=lambda option: next(iter(option)),
)  # fmt: skip
def test_identity_tells_options_apart_that_the_weights_do_not_show(option, tmp_path):
    folder = save_unet(tmp_path / "unet", **ATTENTION)
    shutil.copytree(folder, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    assert config.get(*option) != next(iter(option.values()))
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | option))
    one, other = (DiffusionBackbone(tmp_path / name, blocks=(1,), steps=(50,)) for name in ("unet", "other"))
    image = picture(1, 3, 8, 8)
    assert not torch.equal(one(image)[0], other(image)[0])
    assert one.identity != other.identity


def test_identity_does_not_depend_on_the_precision_that_the_same_weights_are_saved_in(unet_folder, tmp_path):
    unet = UNet2DModel.from_pretrained(unet_folder).half()
    unet.save_pretrained(tmp_path / "half")
    unet.float().save_pretrained(tmp_path / "single")
    half, single = (DiffusionBackbone(tmp_path / name, blocks=(1,), steps=(50,)) for name in ("half", "single"))
    assert (tmp_path / "half/diffusion_pytorch_model.safetensors").stat().st_size < 0.7 * (
        tmp_path / "single/diffusion_pytorch_model.safetensors"
    ).stat().st_size
    assert half.identity == single.identity
    image = picture(1, 3, 8, 8)
    # Not to the last bit: products of some processors depend on where in memory the weights lie.
    torch.testing.assert_close(half(image)[0], single(image)[0], rtol=1e-5, atol=1e-6)


def test_a_noise_schedule_beside_the_weights_is_used(unet_folder, tmp_path):
    folder = shutil.copytree(unet_folder, tmp_path / "unet")
    scheduler = DDPMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2")
    scheduler.save_pretrained(folder)
    image = picture(1, 3, 8, 8)
    backbone = DiffusionBackbone(folder, blocks=(1, 3), steps=(10, 90))
    assert_same(backbone(image), [hooked(folder, image, (10, 90), scheduler)[k] for k in (1, 3)])
    assert backbone.identity != DiffusionBackbone(unet_folder, blocks=(1, 3), steps=(10, 90)).identity
    with pytest.raises(ValueError, match="0 to 99"):
        DiffusionBackbone(folder, blocks=(1,), steps=(100,))


def test_a_written_default_schedule_is_the_same_as_none(unet_folder, tmp_path):
    folder = shutil.copytree(unet_folder, tmp_path / "unet")
    DDPMScheduler().save_pretrained(folder)
    one, other = (DiffusionBackbone(f, blocks=(1,), steps=(50,)) for f in (folder, unet_folder))
    assert one.identity == other.identity


def test_a_unet_in_a_saved_pipeline_is_used_with_its_schedule(unet_folder, tmp_path):
    shutil.copytree(unet_folder, tmp_path / "pipeline" / "unet")
    scheduler = DDPMScheduler(num_train_timesteps=100)
    scheduler.save_pretrained(tmp_path / "pipeline" / "scheduler")
    image = picture(1, 3, 8, 8)
    backbone = DiffusionBackbone(tmp_path / "pipeline", blocks=(1,), steps=(90,), subfolder="unet")
    assert_same(backbone(image), [hooked(unet_folder, image, (90,), scheduler)[1]])


@pytest.mark.parametrize("name", ["attention", "resnet sampling", "attention and resnet sampling"])
def test_nothing_after_the_last_block_is_computed(name, tmp_path):
    folder = save_unet(tmp_path / "unet", **UNETS[name])
    for block in range(number_of_blocks(UNet2DModel.from_pretrained(folder))):
        backbone, called = DiffusionBackbone(folder, blocks=(block,), steps=(50,)), []
        wanted, unwanted, seen = [], [], 0
        for level in backbone.unet.up_blocks:
            attentions = getattr(level, "attentions", None)
            for i, resnet in enumerate(level.resnets):
                unit = [resnet, *([attentions[i]] if attentions else [])]
                unit += [*(level.upsamplers or ())] if resnet is level.resnets[-1] else []
                (wanted if seen <= block else unwanted).extend(unit)
                seen += 1
        unwanted += [backbone.unet.conv_norm_out, backbone.unet.conv_out]
        for module in wanted + unwanted:
            module.register_forward_hook(lambda module, inputs, output, called=called: called.append(module))
        backbone(picture(1, 3, 8, 8))
        assert called == wanted, f"block {block}"


def test_threads_get_what_one_after_the_other_gets(unet_folder):
    backbone = DiffusionBackbone(unet_folder, blocks=(1, 3), steps=(50, 250))
    images = [picture(1, 3, 8, 8), picture(1, 3, 16, 12)]
    expected, start = [backbone(image) for image in images], Barrier(2)

    def work(image):
        start.wait()
        return [backbone(image) for _ in range(10)]

    with ThreadPoolExecutor(2) as pool:
        for runs, features in zip(pool.map(work, images), expected, strict=True):
            for run in runs:
                assert_same(run, features)

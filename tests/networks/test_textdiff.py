"""The network and its head: one contract over many configurations, and what the sentence does to the logits."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.networks.blocks import CrossAttentionBlock
from torch import nn

from textdiff_monai import DiffusionBackbone, SegmentationHead, TextDiff, TextEncoder
from textdiff_monai.networks.attention import ImageTextAttention, ImageTextBlock

HEAD = {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": (8, 8)}
CONFIGURATIONS = {
    "paper-like": {"blocks": (0, 1, 2, 3), "steps": (50, 150, 250)},
    "one block, one step": {"blocks": (2,), "steps": (50,)},
    "three classes": {"blocks": (1, 3), "steps": (50,), "num_classes": 3},
    "two blocks, batch of three": {"blocks": (3, 1), "steps": (50, 250), "batch": 3},
    "wide": {"blocks": (1, 2, 3), "steps": (250,), "size": (8, 20), "batch": 3},
    "tall, three classes": {"blocks": (0, 3), "steps": (0, 500, 999), "size": (18, 4), "num_classes": 3},
    "smallest": {"blocks": (3,), "steps": (50,), "size": (2, 2), "batch": 2},
    "unmasked padding": {"blocks": (1,), "steps": (50,), "encoder": {"max_length": 10, "mask_padding": False}},
    "another head": {"blocks": (0, 2), "steps": (50,), "head": {"channels": 8, "heads": 1, "head_channels": 4}},
}
SENTENCES = ["left upper lung", "the nuclei in the right is high.", ""]


@pytest.fixture(scope="module")
def build(unet_folder, bert_folder):
    def build(blocks, steps, num_classes=2, encoder=None, head=None, **unused):
        torch.manual_seed(0)
        backbone, encoder = DiffusionBackbone(unet_folder, blocks, steps), TextEncoder(bert_folder, **encoder or {})
        network = TextDiff(backbone, encoder, num_classes, HEAD | (head or {}))
        for parameter in network.head.parameters():  # larger than at the start of training, so that all of it counts
            nn.init.normal_(parameter, 0.0, 0.3)
        return network.eval()

    return build


@pytest.fixture(params=CONFIGURATIONS)
def case(request, build):
    """A network, images and their sentences."""
    options = CONFIGURATIONS[request.param]
    batch = options.get("batch", 1)
    return build(**options), images(batch, *options.get("size", (8, 8))), SENTENCES[:batch]


def images(batch, height=8, width=8):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def assert_close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_logits_have_the_size_of_the_image_and_are_finite(case):
    network, image, texts = case
    logits = network(image, texts)
    assert logits.shape == (len(image), network.head.classifier[-1].out_channels, *image.shape[-2:])
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


def test_fast_and_plain_logits_agree(case):
    network, image, texts = case
    fast = network(image, texts)
    network.fast = False
    plain = network(image, texts)
    assert_close(fast, plain)
    assert not torch.equal(fast, plain)


def test_fast_is_an_option_that_is_on(network):
    assert network.fast
    assert not TextDiff(network.backbone, network.text_encoder, fast=False).fast


def test_no_text_is_an_empty_sentence(case):
    network, image, _ = case
    expected = network(image, [""] * len(image))
    assert torch.equal(network(image), expected)
    assert torch.equal(network(image, None), expected)
    assert torch.equal(network(image, ""), expected)


def test_one_string_is_the_sentence_of_every_image(case):
    network, image, _ = case
    assert torch.equal(network(image, "left lung"), network(image, ["left lung"] * len(image)))
    assert torch.equal(network(image, "left lung"), network(image, ("left lung",) * len(image)))


def test_the_sentence_changes_the_logits(case):
    network, image, _ = case
    assert not torch.allclose(network(image, "left lung"), network(image, "right lung"), rtol=1e-3)
    assert not torch.allclose(network(image, "left lung"), network(image), rtol=1e-3)


def test_embeddings_with_their_mask_are_their_sentences(case):
    network, image, texts = case
    embeddings, mask = network.text_encoder(texts)
    assert_close(network(image, embeddings, mask), network(image, texts))


def test_embeddings_without_a_mask_are_seen_whole(case):
    network, image, texts = case
    embeddings, mask = network.text_encoder(texts)
    assert_close(network(image, embeddings), network(image, embeddings, torch.ones_like(mask)))
    if not mask.all():
        assert not torch.allclose(network(image, embeddings), network(image, embeddings, mask), rtol=1e-3)


def test_an_image_has_the_same_logits_alone_and_beside_others(case):
    network, image, texts = case
    together = network(image, texts)
    for i, text in enumerate(texts):
        assert_close(network(image[i : i + 1], [text]), together[i : i + 1])


def test_metatensors_are_taken_as_tensors(case):
    network, image, texts = case
    logits = network(MetaTensor(image, meta={"filename_or_obj": "a.png"}), texts)
    assert type(logits) is torch.Tensor
    assert torch.equal(logits, network(image, texts))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", ["two blocks, batch of three", "unmasked padding"])
def test_a_trace_without_text_gives_the_same_logits_for_other_images(build, name):
    network, image = build(**CONFIGURATIONS[name]), images(CONFIGURATIONS[name].get("batch", 1))
    traced = torch.jit.trace(network, image)
    for other in (image, image.flip(-1), images(5)):
        assert_close(traced(other), network(other))
    assert_close(traced(image), traced(image))


def test_padding_in_the_batch_does_not_change_an_items_logits(network):
    image = images(1)
    short, long = "left", "the nuclei in the upper right lung is high, lower left lung infection."
    alone = network(image, [short])
    beside = network(image.repeat(2, 1, 1, 1), [short, long])
    assert_close(beside[:1], alone)
    assert not torch.allclose(beside[1:], alone, rtol=1e-3)


def test_the_content_of_masked_tokens_does_not_matter(network):
    image, (embeddings, mask) = images(2), network.text_encoder(["left", "the left upper lung is high"])
    other = torch.where(mask[..., None], embeddings, torch.full_like(embeddings, 100.0))
    assert_close(network(image, other, mask), network(image, embeddings, mask))
    assert not torch.allclose(network(image, other), network(image, embeddings), rtol=1e-3)


@pytest.mark.parametrize("texts", [[], ["left"], ["left"] * 3, ("left",)])
def test_another_number_of_texts_than_images_is_an_error_with_both_numbers(network, texts):
    with pytest.raises(ValueError, match=f"{len(texts)} texts for 2 images"):
        network(images(2), texts)


@pytest.mark.parametrize("shape", [(2, 4, 15), (1, 4, 16), (3, 4, 16), (4, 16), (16,)])
def test_embeddings_of_another_shape_are_an_error_with_the_shape_expected(network, shape):
    with pytest.raises(ValueError, match=r"\(2, .*, 16\), got " + str(shape).replace("(", r"\(").replace(")", r"\)")):
        network(images(2), torch.zeros(shape))


def test_a_mask_of_numbers_is_read_as_seen_or_not_seen(network):
    image, (embeddings, mask) = images(2), network.text_encoder(["left", "the left upper lung is high"])
    expected = network(image, embeddings, mask)
    assert_close(network(image, embeddings, mask.long()), expected)
    assert_close(network(image, embeddings, mask.float()), expected)


def test_a_size_that_cannot_be_halved_is_an_error_that_names_sizes(network):
    with pytest.raises(ValueError, match="a height of 8 or 10 and a width of 8"):
        network(images(1, 9, 8), "left")


def test_the_loss_reaches_every_parameter_of_the_head(network):
    with torch.enable_grad():
        network.train()(images(2), ["left", ""]).square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.head.parameters())


def projections(in_channels, channels):
    """Names and (out, in) channels of a head's projections."""
    head = SegmentationHead(in_channels, 16, **HEAD | {"channels": channels})
    return {n: tuple(w.shape[:2]) for n, w in head.state_dict().items() if n.startswith("project") and w.ndim == 4}


def test_only_the_first_scale_has_a_projection_of_its_own():
    assert projections([24, 24, 24, 40], 16) == {
        "project_first.weight": (16, 24),
        "project_later.24.weight": (16, 24),
        "project_later.40.weight": (16, 40),
    }


def test_a_scale_as_wide_as_the_attention_has_no_projection():
    assert projections([16, 24, 16], 16) == {"project_later.24.weight": (16, 24)}
    assert projections([24, 16], 16) == {"project_first.weight": (16, 24)}
    assert projections([16], 16) == {}


def test_scales_are_projected_by_the_weights_of_their_place_and_width():
    torch.manual_seed(0)
    head = SegmentationHead([24, 24, 16, 24, 40], 16, **HEAD).eval()
    maps = [torch.randn(1, width, 4, 4) for width in (24, 24, 16, 24, 40)]
    text, image = torch.randn(1, 3, 16), torch.zeros(1, 3, 4, 4)
    first, later = head.project_first, head.project_later
    projected = [first(maps[0]), later["24"](maps[1]), maps[2], later["24"](maps[3]), later["40"](maps[4])]
    same = SegmentationHead([16] * 5, 16, **HEAD).eval()
    same.load_state_dict({name: weight for name, weight in head.state_dict().items() if not name.startswith("project")})
    assert_close(head(maps, text, None, image), same(projected, text, None, image))
    assert not torch.allclose(first(maps[0]), later["24"](maps[0]))


def test_details_are_of_the_image_itself():
    maps, text = [torch.randn(1, 24, 16, 16)], torch.randn(1, 3, 16)
    images = torch.randn(2, 1, 3, 32, 32)
    plain, detailed = (SegmentationHead([24], 16, **HEAD, detail_channels=width).eval() for width in (0, 4))
    assert torch.equal(*(plain(maps, text, None, image) for image in images))
    assert not torch.allclose(*(detailed(maps, text, None, image) for image in images))
    assert all(name.startswith("detail.") for name in detailed.state_dict().keys() - plain.state_dict().keys())


@pytest.mark.parametrize(("channels", "gain"), [(768, 1), (192, 2)])
def test_weights_start_as_published_and_narrower_layers_with_the_same_gain(channels, gain):
    torch.manual_seed(0)
    head = SegmentationHead([64, 32], 64, channels=channels)
    for module in head.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            linear = isinstance(module, nn.Linear)
            assert module.weight.std().item() == pytest.approx(0.02 * (gain if linear else 1), rel=0.1)
            assert abs(module.weight.mean().item()) < 0.002
            assert module.bias is None or not module.bias.any()
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.02)
            assert 0 < module.weight.std().item() < 0.04


@pytest.mark.parametrize(("channels", "text_channels", "heads", "head_channels"), [(16, 16, 2, 8), (12, 20, 3, 5)])
def test_attention_is_monais_cross_attention_and_a_layer_norm(channels, text_channels, heads, head_channels):
    torch.manual_seed(0)
    ours = ImageTextAttention(channels, text_channels, heads, head_channels)
    nn.init.normal_(ours.norm.weight), nn.init.normal_(ours.norm.bias)
    theirs = CrossAttentionBlock(
        channels, heads, hidden_input_size=channels, context_input_size=text_channels, dim_head=head_channels
    ).eval()
    weights = {name.replace("to_out", "out_proj"): tensor for name, tensor in ours.state_dict().items()}
    theirs.load_state_dict({name: tensor for name, tensor in weights.items() if not name.startswith("norm")})
    pixels, text = torch.randn(2, 9, channels), torch.randn(2, 5, text_channels)
    expected = ours.norm(theirs(pixels, text))
    assert_close(ours(pixels, text), expected)
    seen = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    masked = ours(pixels, text, seen)
    assert_close(masked[:1], expected[:1])
    assert_close(masked[1:], ours.norm(theirs(pixels[1:], text[1:, :3])))


def test_the_attention_block_is_pointwise_in_the_image_and_keeps_its_shape():
    torch.manual_seed(0)
    block, pixels, text = ImageTextBlock(12, 16, 2, 4).eval(), torch.randn(2, 15, 12), torch.randn(2, 4, 16)
    output = block(pixels, text)
    assert output.shape == pixels.shape
    assert_close(block(pixels.flip(1), text), output.flip(1))
    assert_close(block(pixels[:, 3:4], text), output[:, 3:4])
    assert_close(block(pixels, text.flip(1)), output)  # tokens carry their place in their embedding
    assert not torch.allclose(block(pixels, text.flip(0)), output, rtol=1e-3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_lower_precision_is_the_networks_own_on_a_cpu_too(build, precision):
    options, image = CONFIGURATIONS["paper-like"], images(2)
    network = build(**options)
    exact = network(image, SENTENCES[:2])
    lower = TextDiff(network.backbone, network.text_encoder, head=HEAD, autocast=precision).eval()
    lower.load_state_dict(network.state_dict())
    logits = lower(image, SENTENCES[:2])
    assert logits.dtype == torch.float32
    assert 0 < (logits - exact).norm() < 0.05 * exact.norm()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(image, SENTENCES[:2]).float(), logits) == (precision == "bfloat16")
    assert_close(torch.jit.trace(lower, image, check_trace=False)(image), network(image))


def test_sentences_first_read_in_a_lower_precision_are_remembered_exactly(build):
    network, fresh = (build(**CONFIGURATIONS["one block, one step"]) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        network(images(1), ["left lower lung"])
    assert torch.equal(network(images(1), ["left lower lung"]), fresh(images(1), ["left lower lung"]))


def test_an_unknown_precision_is_an_error_that_names_those_there_are(network):
    with pytest.raises(ValueError, match=r"'half'.*'bfloat16', 'float16'"):
        TextDiff(network.backbone, network.text_encoder, autocast="half")

"""The inferer: logits of the image's own size, and every image and window read with its own sentence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from torch import nn

from textdiff_monai import TextInferer, TextToMetad

CODES = {"": 0.0, "left": 1.0, "right": 2.0, "upper": 3.0}
WAYS = {
    "whole": {},
    "resized": {"resize": 16},
    "resized to its own size": {"resize": 24},
    "tiled": {"tile": 16},
    "tiled, one window at a time": {"tile": 16, "overlap": 0.5, "tiles_per_batch": 1},
    "tiled, larger than the image": {"tile": 40},
}


class Reader(nn.Module):
    """Three classes: the image's red channel, the code of its sentence, and 1; keeps what it was called with."""

    def __init__(self):
        super().__init__()
        self.sizes, self.texts = [], []

    def forward(self, image, text=None):
        assert type(image) is torch.Tensor
        texts = [text] * len(image) if text is None or isinstance(text, str) else list(text)
        assert len(texts) == len(image)
        self.sizes.append(tuple(image.shape))
        self.texts += texts
        code = torch.tensor([-1.0 if text is None else CODES[text] for text in texts])[:, None, None, None]
        red = image[:, :1]
        return torch.cat([red, code.expand_as(red), torch.ones_like(red)], dim=1)


def images(batch=3, height=24, width=24, seed=0):
    """Smooth pictures, which resizing hardly changes."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    slopes = torch.rand(batch, 3, 2, generator=generator)[..., None, None] - 0.5
    return slopes[:, :, 0] * rows + slopes[:, :, 1] * columns


def codes(logits):
    return [sorted({round(code, 4) for code in item[1].flatten().tolist()}) for item in logits]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [(24, 24), (24, 40), (33, 18)])
@pytest.mark.parametrize("batch", [1, 3])
def test_logits_have_the_size_and_place_of_the_image(way, size, batch):
    image, network = images(batch, *size), Reader()
    logits = TextInferer(**WAYS[way])(image, network, ["left", "right", "upper"][:batch])
    assert logits.shape == (batch, 3, *size)
    torch.testing.assert_close(logits[:, :1], image[:, :1], rtol=0, atol=0.05)
    torch.testing.assert_close(logits[:, 2:], torch.ones(batch, 1, *size))


@pytest.mark.parametrize("way", WAYS)
def test_every_image_is_read_with_its_own_sentence(way):
    network = Reader()
    logits = TextInferer(**WAYS[way])(images(), network, ["left", "right", ""])
    assert codes(logits) == [[1], [2], [0]]
    assert set(network.texts) == {"left", "right", ""}


@pytest.mark.parametrize("way", WAYS)
def test_images_without_sentences_are_read_with_empty_ones(way):
    for image in (images(), MetaTensor(images()), MetaTensor(images(), meta={"filename_or_obj": "a"})):
        assert codes(TextInferer(**WAYS[way])(image, Reader())) == [[0]] * 3


@pytest.mark.parametrize("way", WAYS)
def test_the_network_gets_the_image_alone_where_no_text_is_read(way):
    class Plain(nn.Module):
        def forward(self, image):
            return image[:, :2].clone()

    for image in (images(), MetaTensor(images(), meta={"text": ["left", "right", ""]})):
        logits = TextInferer(**WAYS[way], read_text=False)(image, Plain(), ["left", "right", ""])
        assert logits.shape == (3, 2, 24, 24)
        torch.testing.assert_close(torch.as_tensor(logits), images()[:, :2], rtol=0, atol=0.05)


@pytest.mark.parametrize(("options", "side"), [({"resize": 16}, 16), ({"tile": 16}, 16), ({"tile": 40}, 40)])
def test_the_network_sees_squares_of_the_size_asked_for(options, side):
    network = Reader()
    TextInferer(**options)(images(2, 24, 40), network, ["left", "right"])
    assert {size[1:] for size in network.sizes} == {(3, side, side)}


def test_a_whole_image_is_given_as_it_is():
    network, image = Reader(), images(2, 24, 40)
    assert torch.equal(TextInferer()(image, network, ["left", "right"])[:, :1], image[:, :1])
    assert network.sizes == [(2, 3, 24, 40)]


def test_windows_run_in_batches_and_all_read_the_images_sentence():
    network = Reader()
    TextInferer(tile=16, overlap=0.5, tiles_per_batch=3)(images(2, 32, 32), network, ["left", "right"])
    assert [size[0] for size in network.sizes] == [3, 3, 3, 3, 3, 3]
    assert network.texts == ["left"] * 9 + ["right"] * 9


def test_resizing_and_tiling_together_are_an_error():
    with pytest.raises(ValueError, match=r"resize .* tile"):
        TextInferer(resize=16, tile=16)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("texts", [[], ["left"], ["left"] * 4])
def test_another_number_of_sentences_than_images_is_an_error(way, texts, network):
    with pytest.raises(ValueError, match=r"zip\(\) argument|texts for 3 images"):
        TextInferer(**WAYS[way])(images(), network, texts)


@pytest.mark.parametrize("way", ["whole", "resized", "tiled"])
def test_one_string_is_the_sentence_of_every_image(way):
    assert codes(TextInferer(**WAYS[way])(images(), Reader(), "left")) == [[1]] * 3


def batches(texts, batch_size):
    """Batches as a DataLoader makes them of items whose sentences lie in the image's metadata."""
    items = [{"image": MetaTensor(image), "text": text} for image, text in zip(images(len(texts)), texts, strict=True)]
    return DataLoader(Dataset(items, TextToMetad()), batch_size=batch_size)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_sentences_in_the_metadata_are_read_where_images_come_alone(way, batch_size):
    inferer, found = TextInferer(**WAYS[way]), []
    for batch in batches(["left", "", "right"], batch_size):
        found += codes(inferer(batch["image"], Reader()))
    assert found == [[1], [0], [2]]


def test_sentences_given_go_before_those_in_the_metadata():
    (batch,) = batches(["left", "left", "left"], 3)
    assert codes(TextInferer()(batch["image"], Reader(), ["right", "upper", ""])) == [[2], [3], [0]]


def test_an_image_that_was_not_collated_is_read_with_its_sentence():
    item = TextToMetad()({"image": MetaTensor(images(1)[0]), "text": "left"})
    assert codes(TextInferer()(item["image"][None], Reader())) == [[1]]


@pytest.mark.parametrize("item", [{}, {"text": None}, {"text": ""}])
def test_an_item_without_a_sentence_has_an_empty_one_in_its_metadata(item):
    assert TextToMetad()({"image": MetaTensor(images(1)[0])} | item)["image"].meta["text"] == ""


def test_sentences_may_lie_under_another_key():
    item = {"scan": MetaTensor(images(1)[0]), "caption": "left", "text": "right"}
    assert TextToMetad("scan", text_key="caption")(item)["scan"].meta["text"] == "left"


@pytest.mark.parametrize("way", WAYS)
def test_metadata_is_kept_for_each_image(way):
    affine, names = torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0])), ["0.png", "1.png"]
    pairs = zip(images(2), names, strict=True)
    items = [{"image": MetaTensor(image, affine=affine, meta={"filename_or_obj": name})} for image, name in pairs]
    (batch,) = DataLoader(Dataset(items), batch_size=2)
    logits = TextInferer(**WAYS[way])(batch["image"], Reader(), ["left", "right"])
    assert isinstance(logits, MetaTensor)
    assert [item.meta["filename_or_obj"] for item in decollate_batch(logits)] == names
    assert torch.equal(decollate_batch(logits)[1].affine, items[1]["image"].affine)
    assert codes(logits) == [[1], [2]]


def test_plain_tensors_give_plain_tensors():
    assert type(TextInferer(tile=16)(images(), Reader(), ["left"] * 3)) is torch.Tensor


def test_tiles_of_the_networks_own_size_give_what_the_whole_image_gives(network):
    image, texts = images(2, 16, 16), ["left lung", "right lung"]
    with torch.no_grad():
        whole = TextInferer()(image, network, texts)
        torch.testing.assert_close(TextInferer(tile=16)(image, network, texts), whole)
        torch.testing.assert_close(TextInferer(resize=16)(image, network, texts), whole)
        assert torch.equal(whole, network(image, texts))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("left", "left"),
        ("", ""),
        (None, ""),
        (5, "5"),
        (0, "0"),
        (["$a"], "['$a']"),
        ("$1 @a %b", "$1 @a %b"),
        ("\ud83d", "?"),
    ],
)
def test_whatever_is_typed_is_text(value, text):
    image = MetaTensor(images()[0])
    assert TextToMetad()({"image": image, "text": value})["image"].meta["text"] == text


def test_threads_do_not_mix_sentences(network):
    sentences = ["left", "right", "upper lung", "lower lung", "", "nuclei high in the middle"] * 4
    items = [
        TextToMetad()({"image": MetaTensor(images(1, seed=i)[0]), "text": text}) for i, text in enumerate(sentences)
    ]
    run = lambda item: TextInferer(resize=16)(item["image"][None], network)  # noqa: E731
    with torch.no_grad():
        alone = [run(item) for item in items]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(torch.no_grad()(run), items))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)

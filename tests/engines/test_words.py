"""Maps of words are the attention that the network uses, and leaving a word out is asking without it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from torch import nn

from textdiff_monai import HeadEnsemble, TextInferer, WordCases, WordEffects, bundle_root, load_trained, word_maps
from textdiff_monai.data.files import read_rows, write_rows

UNFAMILIAR = {"familiarity": lambda images, texts: ["another kind of picture"] * len(images)}
TEXT = "left upper lung, nuclei in the middle"


@pytest.fixture
def image():
    return torch.rand(1, 3, 32, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def steeper(network):
    """Attention that differs between pixels and words, as random weights have little of it."""
    for parameter in network.head.parameters():
        nn.init.normal_(parameter, 0.0, 0.5)
    return network


def test_shares_are_the_weights_by_which_values_are_averaged(network):
    attention = steeper(network).head.attention.attention1
    pixels, text = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    mask = torch.tensor([[True, True, True, False], [True, False, True, True]])
    shares = attention.shares(pixels, text, mask)
    assert shares.shape == (2, 5, 4)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 5))
    assert (shares[0, :, 3] == 0).all()
    scores = torch.einsum(
        "bhnc,bhlc->bhnl", attention.split(attention.to_q(pixels)), attention.split(attention.to_k(text))
    )
    scores = (scores / 8**0.5).masked_fill(~mask[:, None, None], -torch.inf)
    torch.testing.assert_close(shares, scores.softmax(-1).mean(1))


@torch.no_grad()
def test_at_every_pixel_words_and_what_is_no_word_share_all_of_the_attention(network, image):
    maps = word_maps(steeper(network), image, TEXT)
    assert maps.shape == (1, 8, 32, 24)
    assert (maps >= -1e-6).all()
    torch.testing.assert_close(maps.sum(1), torch.ones(1, 32, 24))
    assert maps.std((2, 3)).min() > 1e-4
    tokens = network.text_encoder(["lung,"])[0].shape[1]
    assert tokens > 3  # the word and its comma: two tokens, one map


@torch.no_grad()
def test_several_heads_have_the_mean_of_their_maps(network, image):
    first = steeper(network).head
    alone = [word_maps(network, image, TEXT)]
    torch.manual_seed(8)
    second = type(first)(network.backbone.out_channels, network.text_encoder.out_channels, **first.options)
    network.head = second
    alone.append(word_maps(network, image, TEXT))
    network.head = HeadEnsemble([first, second])
    torch.testing.assert_close(word_maps(network, image, TEXT), torch.stack(alone).mean(0))


@pytest.mark.parametrize(
    "options", [{}, {"resize": 16}, {"tile": 16}, {"temperature": 3.0, "least_presence": 0.9}, UNFAMILIAR]
)
def test_maps_are_of_the_images_size_however_it_is_read(network, image, options):
    effects = WordEffects(steeper(network).eval(), TextInferer(**options))(image[0], TEXT)
    assert [effect.word for effect in effects] == [*TEXT.split(), ""]
    assert {effect.attention.shape for effect in effects} == {(32, 24)}
    np.testing.assert_allclose(sum(effect.attention for effect in effects), 1, atol=1e-5)
    assert effects[-1].without is None


def test_what_is_marked_without_a_word_is_what_the_rest_of_the_sentence_marks(network, image):
    steeper(network).eval()
    inferer = TextInferer(resize=16)
    effects = WordEffects(network, inferer)(image[0], "left lung high")
    for effect, rest in zip(effects, ("lung high", "left high", "left lung"), strict=False):
        with torch.no_grad():
            expected = inferer(image, network, text=[rest]).argmax(1)[0]
        assert np.array_equal(effect.without, expected.numpy())


def test_a_picture_of_another_kind_has_no_mask_and_a_slice_is_not_asked_about(network, image):
    effects = WordEffects(steeper(network).eval(), TextInferer(**UNFAMILIAR))
    picture, a_slice = effects(image[0], TEXT), effects(image[0, ..., None], TEXT)
    assert not any(effect.without.any() for effect in picture[:-1])
    assert any(effect.without.any() for effect in a_slice[:-1])
    for one, other in zip(picture, a_slice, strict=True):
        np.testing.assert_allclose(one.attention, other.attention, atol=1e-6)


def test_a_head_that_reads_no_sentence_has_no_words(network):
    with pytest.raises(ValueError, match="does not read sentences"):
        WordEffects(network, TextInferer(read_text=False))
    with pytest.raises(ValueError, match="does not read sentences"):
        WordEffects(nn.Conv2d(3, 2, 1), TextInferer())
    network.text_encoder = nn.Identity()
    with pytest.raises(ValueError, match="Identity does not say which tokens belong to which word"):
        WordEffects(network, TextInferer())


def test_the_shipped_head_needs_the_side_and_not_the_article():
    network, inferer, reading = load_trained(f"{bundle_root()}/models/model.pt", cache_gib=0, device="cpu")
    image = reading({"image": f"{bundle_root()}/data/lungs/images/1663b242.jpg"})["image"].as_tensor()
    effects = WordEffects(network, inferer)(image, "Segment the left lung.")
    with torch.no_grad():
        whole = inferer(image[None], network, text=["Segment the left lung."]).argmax(1)[0].numpy()
    changed = {effect.word: int((effect.without != whole).sum()) for effect in effects[:-1]}
    assert changed["left"] > 0.3 * whole.sum()
    assert changed["the"] < 0.05 * whole.sum()


class _Items:
    """A data set as MONAI's: items, of which the data are known without reading."""

    def __init__(self, count, image):
        self.data = [{"id": f"case_{n}", "text": TEXT if n else " "} for n in range(count)]
        self.image = image

    def __getitem__(self, place):
        label = torch.zeros(1, *self.image.shape[2:])
        label[:, :9] = 1
        return self.data[place] | {"image": MetaTensor(self.image[0]), "label": label}


def test_the_worst_and_the_best_cases_of_an_evaluation_are_measured(network, image, tmp_path):
    dice = [0.0, 0.5, 0.9, 0.1, 0.7, 0.3]  # the first has no sentence
    items = _Items(len(dice), image)
    rows = [{"id": one["id"], "text": one["text"], "mean_dice": d} for one, d in zip(items.data, dice, strict=True)]
    write_rows(tmp_path / "cases.csv", rows)
    engine = Engine(lambda *_: None)
    WordCases(str(tmp_path), items, steeper(network).eval(), TextInferer(), 3).attach(engine)
    engine.run([0], 1)
    rows = read_rows(tmp_path / "words.csv")
    assert list(dict.fromkeys(row["id"] for row in rows)) == ["case_3", "case_5", "case_2"]
    assert sorted(path.name for path in (tmp_path / "words").iterdir()) == [f"case_{n}.webp" for n in (2, 3, 5)]
    assert [row["word"] for row in rows[:8]] == [*TEXT.split(), "(no word)"]
    with torch.no_grad():
        marked = network(image, [TEXT]).argmax(1)[0].bool()
        without = network(image, [TEXT.partition(" ")[2]]).argmax(1)[0].bool()
    truth = torch.zeros_like(marked)
    truth[:9] = True
    for name, mask in (("dice", marked), ("dice_without", without)):
        expected = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
        assert float(rows[0][name]) == pytest.approx(float(expected), abs=1e-4)

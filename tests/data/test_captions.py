"""Captions after flips and turns: true of the turned image, or not written at all."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from textdiff_monai import recaption, rewrite
from textdiff_monai.data.captions import SYMMETRIES
from textdiff_monai.transforms.symmetry import apply_symmetry

COVID = "Bilateral pulmonary infection, two infected areas, upper left lung and lower right lung."
NUCLEI = "The nuclei density in the upper right is high."
TURNS = [name for name, symmetry in SYMMETRIES.items() if symmetry.turns % 2]
FLIPS = [name for name in SYMMETRIES if name not in TURNS]

# Where on a 7 x 7 image a direction is: (row, column).
PLACES = {
    "upper left": (0, 0),
    "upper": (0, 3),
    "upper right": (0, 6),
    "left": (3, 0),
    "right": (3, 6),
    "lower left": (6, 0),
    "lower": (6, 3),
    "lower right": (6, 6),
}


def turned(direction, symmetry):
    """Where a direction of an image is to be found after a symmetry, by turning an image."""
    image = torch.zeros(1, 7, 7)
    image[0][PLACES[direction]] = 1
    row, column = divmod(int(apply_symmetry(image, symmetry).argmax()), 7)
    return next(name for name, place in PLACES.items() if place == (row, column))


def numbered(symmetry, image=None):
    return apply_symmetry(torch.arange(16).reshape(4, 4) if image is None else image, symmetry)


def after(first, second):
    """The one symmetry that does what two do one after the other."""
    both = numbered(second, numbered(first))
    return next(name for name in SYMMETRIES if torch.equal(numbered(name), both))


def test_there_are_eight_symmetries_and_each_turns_differently():
    assert len(SYMMETRIES) == 8
    assert len({numbered(name).numpy().tobytes() for name in SYMMETRIES}) == 8


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("direction", PLACES)
def test_directions_are_those_of_the_turned_image(symmetry, direction):
    caption = "The nuclei density in the {} is high."
    assert rewrite(caption.format(direction), symmetry) == caption.format(turned(direction, symmetry))


@pytest.mark.parametrize("symmetry", ["turn180", "mirror", "mirror_turn180"])
def test_every_direction_of_a_caption_is_flipped(symmetry):
    caption = "Nuclei in the {} and in the {}; few in the {} part."
    for directions in (("upper left", "lower left", "lower right"), ("left", "upper", "lower")):
        expected = caption.format(*(turned(direction, symmetry) for direction in directions))
        assert rewrite(caption.format(*directions), symmetry) == expected


@pytest.mark.parametrize(
    ("symmetry", "expected"),
    [
        ("identity", COVID),
        ("mirror", "Bilateral pulmonary infection, two infected areas, upper right lung and lower left lung."),
        ("turn180", "Bilateral pulmonary infection, two infected areas, lower right lung and upper left lung."),
        ("mirror_turn180", "Bilateral pulmonary infection, two infected areas, lower left lung and upper right lung."),
        ("turn90", None),
        ("turn270", None),
        ("mirror_turn90", None),
        ("mirror_turn270", None),
    ],
)
def test_a_chest_x_ray_can_be_flipped_but_not_turned_a_quarter(symmetry, expected):
    assert rewrite(COVID, symmetry) == expected


@pytest.mark.parametrize(
    "caption",
    [
        "Unilateral pulmonary infection, one infected area, middle left lung.",
        "Bilateral pulmonary infection, three infected areas, all left lung and middle lower right lung.",
        "left pleural effusion",
        "opacity in the right lower zone",
    ],
)
def test_sides_of_the_body_are_never_turned_a_quarter(caption):
    assert [rewrite(caption, name) for name in TURNS] == [None] * 4
    assert None not in [rewrite(caption, name) for name in FLIPS]
    assert rewrite(caption, "mirror") != caption


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize(
    "caption",
    [
        "",
        "The nuclei are evenly distributed.",
        "The nuclei density is higher around.",
        "Many copyright bright rights, upperclass.",
        "Bilateral pulmonary infection.",
        "The nuclei in the center are sparse.",
        "L5 and r = 3 mm, b/l.",
    ],
)
def test_a_caption_without_directions_stays_as_it_is(caption, symmetry):
    assert rewrite(caption, symmetry) == caption


@pytest.mark.parametrize(("first", "second"), list(product(SYMMETRIES, SYMMETRIES)))
def test_two_symmetries_are_one(first, second):
    """In particular, a symmetry and its inverse give the caption back."""
    for direction in PLACES:
        caption = f"Nuclei are dense in the {direction}."
        assert rewrite(rewrite(caption, first), second) == rewrite(caption, after(first, second))


@pytest.mark.parametrize("symmetry", FLIPS)
@pytest.mark.parametrize(
    "caption",
    [
        COVID,
        NUCLEI,
        "TOP LEFT, bottom right; superior and inferior, Uppermost, lowermost, leftmost and right-sided.",
        "The left-hand and the upper-right parts.",
    ],
)
def test_a_flip_done_twice_gives_the_caption_back(caption, symmetry):
    assert rewrite(rewrite(caption, symmetry), symmetry) == caption
    assert symmetry == "identity" or rewrite(caption, symmetry) != caption


@pytest.mark.parametrize(
    ("caption", "symmetry", "expected"),
    [
        ("Left lung. LEFT lung. left lung.", "mirror", "Right lung. RIGHT lung. right lung."),
        ("Upper part. LOWER part.", "turn180", "Lower part. UPPER part."),
        ("Upper left is dense.", "turn90", "Lower left is dense."),
        ("Left is dense.", "turn90", "Lower is dense."),
        ("The UPPER LEFT is dense.", "turn90", "The LOWER LEFT is dense."),
        ("Left-sided effusion, Top-left.", "mirror", "Right-sided effusion, Top-right."),
        ("upper-left corner", "turn90", "lower-left corner"),
    ],
)
def test_the_case_is_kept(caption, symmetry, expected):
    assert rewrite(caption, symmetry) == expected


@pytest.mark.parametrize(
    ("word", "other", "symmetry"),
    [
        ("top", "bottom", "turn180"),
        ("superior", "inferior", "mirror_turn180"),
        ("uppermost", "lowermost", "turn180"),
        ("leftmost", "rightmost", "mirror"),
        ("left-sided", "right-sided", "turn180"),
    ],
)
def test_other_words_for_directions_are_exchanged(word, other, symmetry):
    assert rewrite(f"a {word} cluster", symmetry) == f"a {other} cluster"
    assert rewrite(f"a {other} cluster", symmetry) == f"a {word} cluster"


def test_top_and_bottom_turn_into_sides_and_back():
    assert rewrite("dense at the top", "turn90") == "dense at the left"
    assert rewrite("dense at the bottom left", "turn270") == "dense at the upper left"


@pytest.mark.parametrize(
    "word",
    ["apex", "apical", "basal", "bases", "above", "below", "diaphragm", "costophrenic", "bibasilar", "biapical",
     "cephalad", "posterior", "ventrally", "behind", "suprahilar", "b/l UZ", "Oberfeld", "unten",
     "le champ supérieur", "en bas"],
)  # fmt: skip
def test_heights_without_an_opposite_cannot_be_turned_upside_down(word):
    caption = f"opacity, {word}"
    for name in ("turn180", "mirror_turn180", *TURNS):
        assert rewrite(caption, name) is None, name
    assert rewrite(caption, "mirror") == caption
    assert rewrite(caption + ", left", "mirror") == caption + ", right"


@pytest.mark.parametrize(
    "word",
    ["links", "rechte Lunge", "à gauche", "du poumon droit", "pulmo sinister", "dextrocardia", "clockwise",
     "levoscoliosis", "lingula", "middle lobe"],
)  # fmt: skip
def test_sides_without_an_opposite_cannot_be_mirrored(word):
    for name in ("mirror", "turn180"):
        assert rewrite(f"opacity, {word}", name) is None, name


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("RUL and lll", "LUL and rll"),
        ("LMZ, L.M.Z. and LUQ", "RMZ, R.M.Z. and RUQ"),
        ("worse L > R, at the R lung", "worse R > L, at the L lung"),
        ("lt base, Rt. apex", "rt base, Lt. apex"),
        ("B/L opacities, 2 L of oxygen, L5, a left drain", "B/L opacities, 2 L of oxygen, L5, a right drain"),
        ("If left untreated, or left in situ, the left lung", "If left untreated, or left in situ, the right lung"),
        ("All right, the right lung", "All right, the left lung"),
    ],
)
def test_sides_by_their_initials_are_exchanged_and_what_only_sounds_like_one_stays(caption, mirrored):
    assert rewrite(caption, "mirror") == mirrored
    assert rewrite(mirrored, "mirror") == caption
    assert recaption([{"text": caption}], "swapped")[0]["text"] == mirrored
    assert [rewrite(caption, name) for name in TURNS] == [None] * 4


@pytest.mark.parametrize(
    "name",
    [
        "left atrium",
        "Right atrial cavity",
        "left pumping chamber",
        "right ventricle",
        "right coronary artery",
        "left anterior descending artery",
        "left lobe of the liver",
        "right hepatic lobe",
    ],
)
def test_a_side_that_belongs_to_a_name_is_not_mirrored(name):
    for symmetry in ("mirror", "turn180", *TURNS):
        assert rewrite(f"Segment the {name}.", symmetry) is None
    assert rewrite("The aorta, left of the heart.", "mirror") == "The aorta, right of the heart."
    assert recaption([{"text": f"the {name}"}], "swapped")[0]["text"] not in ("", f"the {name}")


@pytest.mark.parametrize("name", ["superior vena cava", "lower caval vein"])
def test_a_height_that_belongs_to_a_name_is_not_turned(name):
    assert rewrite(f"Segment the {name}.", "mirror") == f"Segment the {name}."
    for symmetry in ("mirror_turn180", "turn180", *TURNS):
        assert rewrite(f"Segment the {name}.", symmetry) is None


def test_lobes_by_their_initials_can_be_mirrored_and_not_turned():
    assert [name for name in SYMMETRIES if rewrite("opacity in the RUL", name)] == ["identity", "mirror"]
    assert rewrite("costophrenic angle", "mirror") == "costophrenic angle"


# What may be said after a quarter turn counter-clockwise; None, that it cannot be said, is always true.
@pytest.mark.parametrize(
    ("caption", "truth"),
    [
        ("The leftmost nuclei are dense.", "The lowermost nuclei are dense."),
        ("The uppermost nuclei are dense.", "The leftmost nuclei are dense."),
        ("The superior part is dense.", "The left part is dense."),
        ("The inferior left is dense.", "The lower right is dense."),
        ("A left-sided cluster.", None),
        ("Bilateral, worse on the right.", None),
        ("The left and the superior part are dense.", "The lower and the left part are dense."),
        ("The nuclei lie in vertical rows.", "The nuclei lie in horizontal rows."),
        ("The upper left and right are dense.", "The lower left and upper left are dense."),
        ("The upper and lower left are dense.", "The lower left and lower right are dense."),
    ],
)
def test_a_quarter_turn_never_leaves_a_caption_false(caption, truth):
    assert rewrite(caption, "turn90") in (None, truth)


@pytest.mark.parametrize(
    ("caption", "symmetry", "truth"),
    [
        ("The nuclei density is lower in the left.", "turn180", "The nuclei density is lower in the right."),
        ("A lower density than in the right.", "turn180", "A lower density than in the left."),
        ("The nuclei density is lower in the left.", "turn90", None),
        ("extending leftward", "mirror", "extending rightward"),
        ("shifted rightwards", "turn180", "shifted leftwards"),
    ],
)
def test_a_flip_never_leaves_a_caption_false(caption, symmetry, truth):
    assert rewrite(caption, symmetry) in (None, truth)


def test_an_unknown_symmetry_is_an_error():
    with pytest.raises(KeyError, match="turn45"):
        rewrite(NUCLEI, "turn45")


ITEMS = [{"image": str(i), "text": text} for i, text in enumerate(["left", "left", "upper right", "RUL", ""])]


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        ("own", ["left", "left", "upper right", "RUL", ""]),
        ("none", ["", "", "", "", ""]),
        ("other", ["upper right", "upper right", "RUL", "", "left"]),
        ("swapped", ["right", "right", "upper left", "LUL", ""]),
    ],
)
def test_a_list_can_be_given_other_captions(captions, expected):
    before = [dict(item) for item in ITEMS]
    items = recaption(ITEMS, captions)
    assert [item["text"] for item in items] == expected
    assert [item["image"] for item in items] == [item["image"] for item in ITEMS]
    assert before == ITEMS


def test_another_caption_asks_for_another_target_of_the_image_where_it_has_one():
    rows = [("a", "disc"), ("a", "exudates"), ("a", "disc"), ("b", "disc"), ("c", "disc"), ("c", "vessels")]
    items = recaption([{"image": image, "text": text} for image, text in rows], "other")
    assert [item["text"] for item in items] == ["exudates", "disc", "exudates", "vessels", "vessels", "disc"]
    assert recaption([{"image": "a", "text": "disc"}], "other")[0]["text"] == "disc"


def test_unknown_captions_are_an_error_that_names_those_there_are():
    with pytest.raises(ValueError, match="'own', 'none', 'other', 'swapped' or 'reworded'"):
        recaption(ITEMS, "random")


def test_captions_can_be_worded_otherwise_always_in_the_same_words():
    told = ["Segment the left lung.", "Segment both lungs.", "Segment the right lung.", "something else entirely", ""]
    items = [{"image": str(number), "text": text} for number, text in enumerate(told)]
    texts = [item["text"] for item in recaption(items, "reworded")]
    assert texts == [item["text"] for item in recaption(items, "reworded")]
    assert texts[3:] == told[3:]
    assert not set(texts[:3]) & set(told)
    with pytest.raises(ValueError, match="none of 2 captions is understood"):
        recaption(items[3:], "reworded")

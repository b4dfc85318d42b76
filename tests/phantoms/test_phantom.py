"""Phantoms: images whose target only the caption tells."""

from __future__ import annotations

import csv
import hashlib
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from textdiff_monai.phantoms.case import KINDS, bound_without_text, make_case
from textdiff_monai.phantoms.phantom import write_phantom

SIZE = 64


@pytest.fixture(scope="module", params=KINDS)
def cases(request):
    return [make_case(request.param, seed, SIZE) for seed in range(150)]


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_case_and_another_seed_another(kind):
    case, again, other = make_case(kind, 3, SIZE), make_case(kind, 3, SIZE), make_case(kind, 4, SIZE)
    assert (case.image == again.image).all()
    assert (case.mask == again.mask).all()
    assert case.text == again.text
    assert (case.image != other.image).mean() > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_rgb_bytes_of_the_asked_size_and_masks_zero_or_one(kind):
    case = make_case(kind, 0)
    assert case.image.shape == (256, 256, 3)
    assert case.mask.shape == (256, 256)
    assert case.image.dtype == case.mask.dtype == np.uint8
    assert set(np.unique(case.mask)) == {0, 1}
    assert case.image.std() > 15


def test_the_mask_is_the_union_of_the_chosen_parts(cases):
    for case in cases:
        assert (case.mask == case.parts[list(case.chosen)].any(axis=0)).all()


def test_parts_are_disjoint_and_never_empty(cases):
    for case in cases:
        assert case.parts.sum(axis=0).max() == 1
        assert case.parts.any(axis=(1, 2)).all()


def test_the_swapped_caption_names_other_parts_that_are_there(cases):
    for case in cases:
        assert case.swapped_text != case.text
        assert not set(case.swapped) & set(case.chosen)
        swapped = [case.names[index].replace("left", "x").replace("right", "left") for index in case.swapped]
        assert sorted(name.replace("x", "right") for name in swapped) == sorted(case.names[i] for i in case.chosen)


def test_the_caption_names_the_chosen_parts():
    for seed in range(50):
        case = make_case("chest", seed, SIZE)
        named = case.text.split("areas, " if "areas" in case.text else "area, ")[1]
        sides = dict(reversed(lung.replace(" lung", "").rsplit(" ", 1)) for lung in named.strip(".").split(" and "))
        assert {f"{zone} {side}" for side, zones in sides.items() for zone in zones.split()} == {
            case.names[index] for index in case.chosen
        }
        case = make_case("nuclei", seed, SIZE)
        place = case.text.removeprefix("Segment the nuclei in the ").strip(".")
        assert all(place.replace(" half", "") in case.names[index] for index in case.chosen)


def test_the_patients_left_lung_is_on_the_right_of_the_image():
    for seed in range(30):
        case = make_case("chest", seed, SIZE)
        columns = {name: np.argwhere(part)[:, 1].mean() for name, part in zip(case.names, case.parts, strict=True)}
        assert all((column > SIZE / 2) == ("left" in name) for name, column in columns.items())


def test_zones_are_ordered_from_top_to_bottom():
    for seed in range(30):
        case = make_case("chest", seed, SIZE)
        for side in ("left", "right"):
            rows = [np.argwhere(p)[:, 0].mean() for n, p in zip(case.names, case.parts, strict=True) if side in n]
            assert rows == sorted(rows)


def test_every_finding_has_an_opacity_in_the_mirror_zone_that_looks_alike():
    inside, others = [], []
    for seed in range(100):
        case = make_case("chest", seed, SIZE)
        grey = case.image[..., 0]
        inside.append(grey[case.mask == 1].mean())
        others.append(grey[case.parts[list(case.swapped)].any(axis=0)].mean())
    differences = np.subtract(inside, others)
    assert abs(differences.mean()) < 3 * differences.std() / np.sqrt(len(differences))


def test_nuclei_of_the_upper_left_are_in_the_upper_left_of_the_image():
    for seed in range(20):
        case = make_case("nuclei", seed, SIZE)
        row, column = np.argwhere(case.parts[case.names.index("upper left")]).mean(axis=0)
        assert row < SIZE / 2
        assert column < SIZE / 2


def test_the_prior_sums_to_one_and_its_frequencies_are_those_of_the_choices(cases):
    expected = np.zeros(6)
    drawn = np.zeros(6)
    for case in cases:
        assert sum(case.prior.values()) == pytest.approx(1)
        for choice, probability in case.prior.items():
            expected[list(choice)] += probability
        drawn[list(case.chosen)] += 1
    assert (np.abs(drawn - expected) <= 4 * np.sqrt(expected) + 1e-9).all()


def test_the_bound_matches_brute_force_over_pixels(cases):
    for case in cases[:8]:
        best = 0.0
        for count in range(1, len(case.parts) + 1):
            for guess in combinations(range(len(case.parts)), count):
                predicted = case.parts[list(guess)].any(axis=0)
                expected = sum(p * dice(predicted, case.parts[list(t)].any(axis=0)) for t, p in case.prior.items())
                best = max(best, expected)
        assert bound_without_text([case]) == pytest.approx(best)


def test_without_the_caption_about_half_is_the_best_and_guesses_do_not_beat_it(cases):
    bound = bound_without_text(cases)
    assert 0.35 < bound < 0.5
    everything = np.mean([dice(case.parts.any(axis=0), case.mask == 1) for case in cases])
    first = np.mean([dice(case.parts[0], case.mask == 1) for case in cases])
    assert first < everything < bound + 0.05


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind"):
        make_case("brain", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_written_folder_has_the_promised_layout(tmp_path, kind):
    folder = write_phantom(tmp_path / "data" / kind, kind, train=3, val=1, test=2, seed=7, size=SIZE)
    with open(folder / "text.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "mask", "text", "split"]
    assert [row["split"] for row in rows] == ["train"] * 3 + ["val"] + ["test"] * 2
    assert sorted(path.name for path in folder.iterdir()) == ["images", "masks", "text.csv"]
    assert sorted(path.name for path in (folder / "images").iterdir()) == sorted(row["image"] for row in rows)
    for row in rows:
        image, mask = Image.open(folder / "images" / row["image"]), Image.open(folder / "masks" / row["mask"])
        assert (image.mode, image.size, mask.mode, mask.size) == ("RGB", (SIZE, SIZE), "L", (SIZE, SIZE))
        assert set(np.unique(np.asarray(mask))) == {0, 255}
    assert [path.name for path in folder.parent.iterdir()] == [kind]


def test_the_swapped_folder_has_the_same_images_with_the_other_sides_captions_and_masks(tmp_path):
    options = {"train": 3, "val": 0, "test": 0, "size": SIZE}
    own, swapped = write_phantom(tmp_path / "own", **options), write_phantom(tmp_path / "sw", **options, swapped=True)
    for number in range(3):
        case, name = make_case("chest", number, SIZE), f"chest_{number:04d}.png"
        assert (own / "images" / name).read_bytes() == (swapped / "images" / name).read_bytes()
        mask = np.asarray(Image.open(swapped / "masks" / name)) > 0
        assert np.array_equal(mask, case.parts[list(case.swapped)].any(axis=0))
        assert case.swapped_text in (swapped / "text.csv").read_text()
        assert not (mask & (np.asarray(Image.open(own / "masks" / name)) > 0)).any()


def test_no_image_is_written_twice_and_another_seed_writes_others(tmp_path):
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for seed in (0, 1)
        for path in (
            write_phantom(tmp_path / str(seed), train=8, val=4, test=8, seed=seed, size=SIZE) / "images"
        ).iterdir()
    ]
    assert len(set(digests)) == len(digests) == 40


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(FileExistsError):
        write_phantom(tmp_path / "data", train=1, val=0, test=0, size=SIZE)
    assert not list((tmp_path / "data").iterdir())


def test_nothing_is_left_behind_when_writing_fails(tmp_path):
    with pytest.raises(ValueError, match="kind"):
        write_phantom(tmp_path / "data", kind="brain", train=1, size=SIZE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("numbers", [{"train": 0, "val": 0, "test": 0}, {"train": -1}])
def test_a_set_without_images_is_refused_before_its_folder_is_made(numbers, tmp_path):
    with pytest.raises(ValueError, match="expected 0 or more of each, and 1 in all"):
        write_phantom(tmp_path / "set", **numbers)
    assert not list(tmp_path.iterdir())

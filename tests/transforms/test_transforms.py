"""From files to network inputs: every kind of picture the right way up, masks in step, captions that stay true."""

from __future__ import annotations

import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import SaveImaged
from PIL import Image

from textdiff_monai import RandSymmetryd, TextInferer, ToInputd, ToSourceLayoutd, preprocessing
from textdiff_monai.data.captions import SYMMETRIES
from textdiff_monai.transforms.symmetry import apply_symmetry

HEIGHT, WIDTH = 6, 9
GRAY = np.random.default_rng(0).integers(10, 100, (HEIGHT, WIDTH)).astype(np.uint8)
GRAY[0, -1], GRAY[-1, 0] = 250, 0  # bright in the upper right, black in the lower left
COLOUR = np.stack([GRAY, GRAY // 2, GRAY // 3], axis=-1)


def save_picture(path, array):
    Image.fromarray(array).save(path)


def save_palette(path, indices, palette):
    picture = Image.fromarray(indices.astype(np.uint8), mode="P")
    picture.putpalette([value for colour in palette for value in colour])
    picture.save(path)


def save_nifti(path, array):
    nib.save(nib.Nifti1Image(array, np.diag([-0.5, -0.5, 1, 1])), path)


def with_alpha(array):
    alpha = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 1)).astype(np.uint8)
    return np.concatenate([array.reshape(HEIGHT, WIDTH, -1), alpha], axis=-1)


EIGHT_BIT = {
    "gray.png": (lambda path: save_picture(path, GRAY), GRAY[..., None].repeat(3, -1)),
    "gray_alpha.png": (lambda path: save_picture(path, with_alpha(GRAY)), GRAY[..., None].repeat(3, -1)),
    "rgb.png": (lambda path: save_picture(path, COLOUR), COLOUR),
    "rgb.bmp": (lambda path: save_picture(path, COLOUR), COLOUR),
    "rgb.tif": (lambda path: save_picture(path, COLOUR), COLOUR),
    "RGB.TIFF": (lambda path: save_picture(path, COLOUR), COLOUR),
    "rgba.png": (lambda path: save_picture(path, with_alpha(COLOUR)), COLOUR),
    "palette.png": (lambda path: save_palette(path, GRAY, [(i, i // 2, i // 3) for i in range(256)]), COLOUR),
    "flat.nii.gz": (lambda path: save_nifti(path, GRAY.T), GRAY[..., None].repeat(3, -1)),
    "flat.nii": (lambda path: save_nifti(path, GRAY.T.astype(np.int16)), GRAY[..., None].repeat(3, -1)),
    "slice.nii.gz": (lambda path: save_nifti(path, GRAY.T[..., None] / 1.0), GRAY[..., None].repeat(3, -1)),
}
OTHER_RANGES = {
    "sixteen.png": lambda path: save_picture(path, GRAY.astype(np.uint16) * 257),
    "sixteen.tif": lambda path: save_picture(path, GRAY.astype(np.uint16) * 257),
    "twelve_of_sixteen.png": lambda path: save_picture(path, GRAY.astype(np.uint16) * 16),
    "float.tif": lambda path: save_picture(path, GRAY.astype(np.float32) / 255),
    "hounsfield.nii.gz": lambda path: save_nifti(path, GRAY.T.astype(np.int16) * 8 - 1000),
}


def load(path, **options):
    return preprocessing(["image"], **options)({"image": str(path), "text": ""})["image"]


def causes(error):
    """All messages from an error to its first cause."""
    return "" if error is None else f"{error}\n{causes(error.__cause__)}"


@pytest.mark.parametrize("name", EIGHT_BIT)
def test_eight_bit_pictures_load_as_they_are_seen(name, tmp_path):
    save, seen = EIGHT_BIT[name]
    save(tmp_path / name)
    expected = torch.from_numpy(seen.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1)
    assert expected.shape == (3, HEIGHT, WIDTH)
    for image, theirs in ((load(tmp_path / name), expected), (load(tmp_path / name, channels="BGR"), expected.flip(0))):
        torch.testing.assert_close(image.as_tensor(), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", OTHER_RANGES)
def test_pictures_of_other_ranges_are_stretched_and_the_right_way_up(name, tmp_path):
    OTHER_RANGES[name](tmp_path / name)
    image = load(tmp_path / name)
    assert image.dtype == torch.float32
    assert image.shape == (3, HEIGHT, WIDTH)
    assert (image.min(), image.max()) == (-1, 1)
    assert image[:, 0, -1].min() == 1
    assert image[:, -1, 0].max() == -1
    inner = ~np.isin(GRAY, (GRAY.min(), GRAY.max()))
    slope, offset = np.polyfit(GRAY[inner], image[0].numpy()[inner], 1)
    assert slope > 0
    assert np.abs(slope * GRAY + offset - image[0].numpy())[inner].max() < 1e-3


def test_a_few_hot_pixels_do_not_darken_a_stretched_picture(tmp_path):
    array = np.linspace(1000, 2000, 64 * 64).reshape(64, 64).astype(np.uint16)
    array[10, 10] = 65535
    save_picture(tmp_path / "hot.png", array)
    image = load(tmp_path / "hot.png")
    assert image[0, 10, 10] == 1
    assert image.mean().abs() < 0.05


def test_a_given_range_of_intensities_is_the_same_for_every_picture(tmp_path):
    save_picture(tmp_path / "a.png", np.array([[0, 100], [150, 250]], np.uint8))
    save_nifti(tmp_path / "b.nii.gz", np.array([[-500, 100], [150, 200]], np.int16))
    for name, expected in (("a.png", [[-1, -1], [0, 1]]), ("b.nii.gz", [[-1, 0], [-1, 1]])):
        assert load(tmp_path / name, intensity_range=[100, 200])[0].tolist() == expected
    with pytest.raises(ValueError, match=r"intensity_range is \[200, 100\]: expected \[LOW, HIGH\]"):
        preprocessing(intensity_range=[200, 100])


@pytest.mark.parametrize("value", [0, 1, 255])
def test_an_even_picture_loads_without_trouble(value, tmp_path):
    save_picture(tmp_path / "even.png", np.full((4, 4), value, np.uint8))
    image = load(tmp_path / "even.png")
    assert torch.isfinite(image).all()
    assert len(image.unique()) == 1


def test_what_is_no_volume_is_an_error_that_names_the_file(tmp_path):
    save_nifti(tmp_path / "times.nii.gz", np.zeros((5, 6, 7, 2), np.int16))
    with pytest.raises((ValueError, RuntimeError)) as caught:
        load(tmp_path / "times.nii.gz")
    expected = "times.nii.gz: expected a volume of three axes, got the shape (5, 6, 7, 2); save each separately"
    assert expected in causes(caught.value)


def test_unknown_options_are_errors_that_name_those_there_are():
    with pytest.raises(ValueError, match="'RGB' or 'BGR'"):
        preprocessing(channels="GBR")
    with pytest.raises(ValueError, match="'symmetries', 'published' or None"):
        preprocessing(augment="flips")


def save_pair(folder, mask, image=None):
    save_picture(folder / "image.png", (mask > 0).astype(np.uint8) * 255 if image is None else image)
    save_picture(folder / "mask.png", mask.astype(np.uint8))
    return {"image": str(folder / "image.png"), "label": str(folder / "mask.png"), "text": ""}


MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
MASK[0, 5:] = MASK[4, 2] = 1


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory):
    """An item with some hundred discs, and the share of the foreground."""
    side, radius, rng = 512, 5, np.random.default_rng(0)
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc, mask = (rows**2 + columns**2 <= radius**2), np.zeros((side, side), np.uint8)
    for y, x in rng.integers(0, side - 2 * radius, (500, 2)):
        mask[y : y + 2 * radius + 1, x : x + 2 * radius + 1] |= disc
    return save_pair(tmp_path_factory.mktemp("nuclei"), mask), mask.mean()


@pytest.mark.parametrize("side", [160, 224, 256, 700])
def test_resizing_keeps_the_share_of_a_foreground_of_small_blobs(nuclei, side):
    item, share = nuclei
    loaded = preprocessing(resize=side)(item)
    assert loaded["label"].shape == (1, side, side)
    assert loaded["label"].dtype == torch.uint8
    assert loaded["label"].float().mean().item() == pytest.approx(share, rel=0.02)
    assert ((loaded["image"].mean().item() + 1) / 2) == pytest.approx(share, rel=0.02)


@pytest.mark.parametrize("side", [160, 256, 700])
def test_a_resized_mask_has_the_class_of_the_nearest_pixel(nuclei, side):
    item, _ = nuclei
    mask, nearest = np.asarray(Image.open(item["label"])), ((np.arange(side) + 0.5) * 512 / side).astype(int)
    assert np.array_equal(preprocessing(resize=side)(item)["label"][0].numpy(), mask[np.ix_(nearest, nearest)])


def test_shrinking_smooths_an_image_first_but_not_as_published(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (128, 128)).astype(np.uint8)
    item = save_pair(tmp_path, noise > 127, noise)
    usual, published = (preprocessing(resize=32, grow_labels=grow)(item)["image"].std() for grow in (False, True))
    assert usual < 0.2
    assert published > 0.25


def test_growing_labels_grows_them_as_published(nuclei):
    item, share = nuclei
    label = preprocessing(resize=224, grow_labels=True)(item)["label"]
    assert label.dtype == torch.uint8
    assert set(label.unique().tolist()) == {0, 1}
    assert label.float().mean().item() > 1.15 * share


def test_a_volume_is_resized_as_published_slice_by_slice(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (20, 24, 5)).astype(np.uint8)
    for name, content in (("image", values), ("label", (values > 200).astype(np.uint8))):
        nib.save(nib.Nifti1Image(content, np.diag([-1, -2, 4, 1])), tmp_path / f"{name}.nii.gz")
    item = {name: str(tmp_path / f"{name}.nii.gz") for name in ("image", "label")}
    published = preprocessing(resize=16, grow_labels=True)
    volume = published(item)
    assert volume["image"].shape == volume["label"].shape == (1, 16, 16, 5)
    assert volume["label"].float().mean() > 1.5 * (values > 200).mean()
    for number in range(5):
        alone = published({**item, "slice": number})
        assert torch.allclose(alone["image"][:1], volume["image"][..., number], atol=1e-5)
        assert torch.equal(alone["label"], volume["label"][..., number])
    steps = np.linalg.norm(volume["label"].affine.numpy()[:3, :3], axis=0)
    np.testing.assert_allclose(steps, [2 * 24 / 16, 20 / 16, 4])  # millimetres between rows, columns and slices


def test_masks_of_several_classes_are_not_grown_into_one():
    with pytest.raises(ValueError, match="grow_labels merges all 2 classes into one: give --grow_labels False"):
        preprocessing(num_classes=3, resize=16, grow_labels=True)


@pytest.mark.parametrize("grow_labels", [False, True])
@pytest.mark.parametrize("side", [40, 64, 160])
def test_image_and_mask_stay_in_place_when_resized(side, grow_labels, tmp_path):
    mask = np.zeros((96, 64), np.uint8)
    mask[20:60, 30:50] = 1
    loaded = preprocessing(resize=side, grow_labels=grow_labels)(save_pair(tmp_path, mask))
    assert loaded["image"].shape == (3, side, side)
    place = torch.arange(side).float() + 0.5
    for weights in ((loaded["image"][0] + 1) / 2, loaded["label"][0].float()):
        y, x = (weights.sum(1) @ place / weights.sum(), weights.sum(0) @ place / weights.sum())
        assert (y / side).item() == pytest.approx(40 / 96, abs=0.75 / side)
        assert (x / side).item() == pytest.approx(40 / 64, abs=0.75 / side)


def test_classes_are_not_mixed_when_resized(tmp_path):
    mask = np.zeros((30, 30), np.uint8)
    mask[:, 10:] = 2
    label = preprocessing(num_classes=3, resize=17)(save_pair(tmp_path, mask))["label"]
    assert label.dtype == torch.uint8
    assert set(label.unique().tolist()) == {0, 2}


@pytest.mark.parametrize("count", [1, 3])
def test_tiles_are_cut_alike_from_image_and_mask(count, tmp_path):
    mask = (np.random.default_rng(0).random((40, 50)) > 0.5).astype(np.uint8)
    chain = preprocessing(tile=16, tiles_per_image=count)
    chain.set_random_state(0)
    tiles = [tile for _ in range(4) for tile in chain(save_pair(tmp_path, mask))]
    assert len(tiles) == 4 * count
    for tile in tiles:
        assert tile["image"].shape == (3, 16, 16)
        assert tile["label"].shape == (1, 16, 16)
        assert tile["label"].dtype == torch.uint8
        assert torch.equal(torch.as_tensor(tile["image"][0] > 0), torch.as_tensor(tile["label"][0] > 0))
    assert len({tile["label"].numpy().tobytes() for tile in tiles}) > 1


def test_tiles_are_those_that_evaluation_slides_over(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
    item, seen = save_pair(tmp_path, picture > 99, picture), []
    whole = preprocessing()(item)["image"]
    TextInferer(tile=16)(whole[None], lambda x, text: seen.extend(x) or x[:, :1].clone(), "")
    drawn = preprocessing(tile=16, tiles_per_image=200)(item)
    assert {tile["image"].numpy().tobytes() for tile in drawn} == {tile.numpy().tobytes() for tile in seen}


@pytest.mark.parametrize(("height", "width"), [(12, 50), (30, 20), (12, 20), (5, 3), (31, 32)])
def test_images_smaller_than_the_tile_are_padded(height, width, tmp_path):
    mask = (np.random.default_rng(0).random((height, width)) > 0.5).astype(np.uint8)
    for tile in preprocessing(tile=32)(save_pair(tmp_path, mask)):
        assert tile["image"].shape == (3, 32, 32)
        assert tile["label"].shape == (1, 32, 32)
        assert torch.equal(torch.as_tensor(tile["image"][0] > 0), torch.as_tensor(tile["label"][0] > 0))
        assert tile["label"].any()


QUADRANTS = [("upper", "left"), ("upper", "right"), ("lower", "left"), ("lower", "right")]


def quadrants(mask):
    """The words of a square mask's fullest quadrant."""
    half = mask.shape[-1] // 2
    parts = [mask[:half, :half], mask[:half, half:], mask[half:, :half], mask[half:, half:]]
    return " ".join(QUADRANTS[int(np.argmax([float(part.sum()) for part in parts]))])


def save_quadrant(folder, side=16):
    """A bright L in the upper left, which no symmetry maps to itself."""
    mask = np.zeros((side, side), np.uint8)
    mask[1:7, 2], mask[6, 2:5] = 1, 1
    image = np.where(mask > 0, 255, np.random.default_rng(0).integers(0, 40, mask.shape)).astype(np.uint8)
    return save_pair(folder, mask, image) | {"text": "The nuclei density in the upper left is high."}


def augmented(item, augment, seeds=60, **options):
    chain = preprocessing(augment=augment, **options)
    for seed in range(seeds):
        chain.set_random_state(seed)
        yield chain(item)


def test_symmetries_turn_image_and_mask_alike_and_keep_the_caption_true(tmp_path):
    views = set()
    for loaded in augmented(save_quadrant(tmp_path), "symmetries"):
        image, label = loaded["image"][0].numpy() > 0, loaded["label"][0].numpy()
        assert loaded["label"].dtype == torch.uint8
        assert np.array_equal(image, label)
        assert loaded["text"] == f"The nuclei density in the {quadrants(label)} is high."
        views.add(label.tobytes())
    assert len(views) == 8


def test_symmetries_of_tiles_keep_image_and_mask_alike(tmp_path):
    mask = (np.random.default_rng(0).random((20, 30)) > 0.5).astype(np.uint8)
    for tiles in augmented(save_pair(tmp_path, mask), "symmetries", 5, tile=8, tiles_per_image=2):
        for tile in tiles:
            assert np.array_equal(tile["image"][0].numpy() > 0, tile["label"][0].numpy())


def test_the_published_augmentation_turns_alike_and_leaves_the_caption(tmp_path):
    item = save_quadrant(tmp_path)
    views, unchanged = set(), []
    for loaded in augmented(item, "published"):
        image, label = loaded["image"][0].numpy() > 0.7, loaded["label"][0].numpy()
        assert loaded["text"] == item["text"]
        assert loaded["label"].dtype == torch.uint8
        assert loaded["image"].shape == (3, 16, 16)
        assert np.array_equal(image, label)
        views.add(label.tobytes())
        unchanged.append(np.array_equal(label, np.asarray(Image.open(item["label"]))))
    original = preprocessing()(item)["label"]
    for name, symmetry in SYMMETRIES.items():
        seen = apply_symmetry(original, name).contiguous().numpy().tobytes() in views
        assert seen == symmetry.mirrored or name == "identity", name
    assert len(views) > 8  # turned by any small angle, too
    assert 0.1 < np.mean(unchanged) < 0.5


@pytest.mark.parametrize("augment", ["symmetries", "published"])
@pytest.mark.parametrize("options", [{}, {"resize": 16}, {"resize": 16, "grow_labels": True}], ids=str)
def test_augmented_items_make_batches_in_worker_processes(augment, options, tmp_path):
    items = [save_quadrant(tmp_path)] * 12
    chain = preprocessing(augment=augment, **options)
    chain.set_random_state(0)
    for batch in DataLoader(Dataset(items, chain), batch_size=6, num_workers=1):
        assert batch["image"].shape == (6, 3, 16, 16)
        assert batch["label"].shape == (6, 1, 16, 16)
        assert len(batch["text"]) == 6


def drawn(text, size=(4, 4), seeds=60, **options):
    """Names of the symmetries that are drawn for an image of a size, and the captions they come with."""
    image = torch.arange(size[0] * size[1]).reshape(1, *size)
    transform, found = RandSymmetryd("image", **options), {}
    for seed in range(seeds):
        result = transform.set_random_state(seed)({"image": image, "text": text})
        names = [name for name in SYMMETRIES if torch.equal(apply_symmetry(image, name), result["image"])]
        assert len(names) == 1
        found[names[0]] = result["text"]
    return found


def test_every_symmetry_is_drawn_where_the_caption_names_no_direction():
    assert drawn("The nuclei are evenly distributed.").keys() == SYMMETRIES.keys()
    assert drawn("").keys() == SYMMETRIES.keys()


def test_images_that_are_not_square_keep_their_shape():
    assert drawn("", size=(4, 6)).keys() == {"identity", "turn180", "mirror", "mirror_turn180"}


def test_only_symmetries_that_the_caption_can_follow_are_drawn():
    assert drawn("upper left lung").keys() == {"identity", "turn180", "mirror", "mirror_turn180"}
    assert drawn("infection near the left apex").keys() == {"identity", "mirror"}
    assert drawn("consolidation of the lingula").keys() == {"identity", "mirror_turn180"}


def test_symmetries_may_be_named_and_are_drawn_with_their_probability():
    assert drawn("", symmetries=["turn90", "mirror"]).keys() == {"turn90", "mirror"}
    assert drawn("left", prob=0.0) == {"identity": "left"}
    assert drawn("left lung", rewrite_text=False).keys() == SYMMETRIES.keys()
    assert set(drawn("left lung", rewrite_text=False).values()) == {"left lung"}


def test_an_item_without_a_caption_is_turned_too():
    image = torch.arange(16).reshape(1, 4, 4)
    transform = RandSymmetryd(["image", "label"], symmetries=["turn90"])
    for missing in ({}, {"text": None}):
        result = transform({"image": image, "label": image.clone()} | missing)
        assert torch.equal(result["image"], torch.rot90(image, 1, (-2, -1)))
        assert torch.equal(result["label"], result["image"])


def test_the_same_seed_draws_the_same_again(tmp_path):
    item = save_quadrant(tmp_path)
    first, second = ([loaded["text"] for loaded in augmented(item, "symmetries", 10)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 1


def test_masks_in_the_layout_of_the_source_are_written_as_they_were(tmp_path):
    mask = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    loaded = preprocessing(num_classes=3)(save_pair(tmp_path, mask))
    turned = ToSourceLayoutd("label")(loaded)
    assert turned["label"].shape == (1, WIDTH, HEIGHT)
    assert np.array_equal(turned["label"][0].numpy().T, mask)
    options = {"output_postfix": "out", "output_ext": ".png", "resample": False, "separate_folder": False}
    SaveImaged("label", output_dir=str(tmp_path), output_dtype=np.uint8, print_log=False, **options)(turned)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "mask_out.png")), mask)


def test_metadata_of_the_file_is_kept(tmp_path):
    loaded = preprocessing(resize=8)(save_pair(tmp_path, MASK))
    assert isinstance(loaded["image"], MetaTensor)
    assert loaded["image"].meta["filename_or_obj"].endswith("image.png")
    assert loaded["label"].meta["filename_or_obj"].endswith("mask.png")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_any_number_of_channels_gives_three(channels):
    image = torch.arange(channels * 6.0).reshape(channels, 2, 3)
    image[0, 0, 0] = 2  # so that these are values of 8 bits
    expected = (image[:3] if channels >= 3 else image[:1].repeat(3, 1, 1)) / 127.5 - 1
    torch.testing.assert_close(ToInputd("image")({"image": image})["image"], expected)


def test_the_dictionary_that_comes_in_is_left_as_it_is():
    item = {"image": torch.rand(1, 4, 4), "text": "left"}
    before = item["image"].clone()
    RandSymmetryd("image", symmetries=["mirror"])(ToInputd("image")(item))
    assert torch.equal(item["image"], before)
    assert item["text"] == "left"


@pytest.mark.parametrize("codes", ["LPS", "RAS", "ALS", "SRA", "RSP"])
def test_predictions_of_a_slice_go_back_to_the_axes_of_its_file(tmp_path, codes):
    source = nib.Nifti1Image(GRAY.T[..., None], np.diag([-0.5, -0.7, 2, 1]))
    turns = nib.orientations.ornt_transform(nib.io_orientation(source.affine), nib.orientations.axcodes2ornt(codes))
    turned = source.as_reoriented(turns)
    nib.save(turned, tmp_path / "image.nii.gz")
    image = preprocessing(["image"])({"image": str(tmp_path / "image.nii.gz")})["image"]
    assert torch.equal(torch.round((image[0].as_tensor() + 1) * 127.5), torch.from_numpy(GRAY).float())
    np.testing.assert_allclose(image.affine @ torch.tensor([0.0, 0, 0, 1]).double(), source.affine[:, 3], atol=1e-6)
    with warnings.catch_warnings(action="error"):
        filed = ToSourceLayoutd("pred")({"pred": torch.round((image + 1) * 127.5)})["pred"]
    assert tuple(filed.shape) == (3, *turned.shape)
    np.testing.assert_array_equal(filed[0].numpy(), turned.get_fdata())
    np.testing.assert_allclose(filed.affine, turned.affine, atol=1e-6)


def test_a_batch_may_hold_pictures_and_slices(tmp_path):
    save_picture(tmp_path / "a.png", GRAY)
    save_nifti(tmp_path / "b.nii", GRAY.T)
    save_nifti(tmp_path / "c.nii", GRAY.T[..., None])
    items = [{"image": str(tmp_path / name)} for name in ("a.png", "b.nii", "c.nii")]
    (batch,) = DataLoader(Dataset(items, preprocessing(["image"])), batch_size=3)
    assert batch["image"].shape == (3, 3, HEIGHT, WIDTH)
    assert torch.equal(batch["image"][0], batch["image"][2])


def test_evaluation_too_asks_for_the_slices_that_a_sentence_is_about(tmp_path):
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((8, 6, 4), np.float32), np.eye(4)), tmp_path / "v.nii")
    image = preprocessing(["image"])({"image": str(tmp_path / "v.nii"), "slices": "1-2"})["image"]
    logits = TextInferer()(
        image[None], lambda images, text: torch.tensor([0.0, 1.0]).view(1, 2, 1, 1) + 0 * images[:, :1]
    )
    assert logits.argmax(1).as_tensor().any(1).any(1).tolist() == [[False, True, True, False]]


def test_a_file_that_is_refused_is_not_read_by_another_reader(tmp_path):
    page = Image.fromarray(GRAY)
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    with pytest.raises((ValueError, RuntimeError)) as caught:
        load(tmp_path / "pages.tif")
    assert "pages.tif: expected one picture, got 2 pages" in causes(caught.value)

"""The feature cache: the same numbers, computed once, whatever happens to the folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from textdiff_monai import DiffusionBackbone, FeatureCache, cache_folder

OPTIONS = {"blocks": (1, 3), "steps": (50, 250)}


def images(count, seed=1, size=8):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def files(folder):
    return [path for path in Path(folder).rglob("*") if path.is_file()]


def size_of(folder):
    return sum(path.stat().st_size for path in files(folder))


@pytest.fixture
def cached(unet_folder, tmp_path):
    """A backbone with a cache in ``tmp_path``; options of either may be given."""

    def cached(cache=None, **options):
        return DiffusionBackbone(
            unet_folder, **OPTIONS | options, cache=FeatureCache(tmp_path, **{"dtype": "float32"} | (cache or {}))
        )

    return cached


def test_features_are_those_of_the_backbone(cached, unet_folder):
    each = [DiffusionBackbone(unet_folder, **OPTIONS)(image) for image in images(3).split(1)]
    expected = [torch.cat(maps) for maps in zip(*each, strict=True)]  # whatever the batch, to the last bit
    backbone = cached()
    for _ in range(2):  # computed, then read
        assert all(torch.equal(a, b) for a, b in zip(backbone(images(3)), expected, strict=True))
    assert (backbone.cache.computed, backbone.cache.read) == (3, 3)


def test_an_image_that_a_batch_holds_several_times_is_computed_once(cached, unet_folder):
    one, two = images(2).split(1)
    batch = torch.cat([one, two, one])
    backbone = cached()
    for scale, expected in zip(backbone(batch), DiffusionBackbone(unet_folder, **OPTIONS)(batch), strict=True):
        torch.testing.assert_close(scale, expected, rtol=1e-5, atol=1e-5)
    assert (backbone.cache.computed, backbone.cache.read) == (2, 1)


def test_half_precision_is_the_default_and_does_not_depend_on_what_was_there(unet_folder, tmp_path):
    exact = DiffusionBackbone(unet_folder, **OPTIONS)(images(2))
    backbone = DiffusionBackbone(unet_folder, **OPTIONS, cache=FeatureCache(tmp_path))
    fresh, read = backbone(images(2)), backbone(images(2))
    for a, b, c in zip(exact, fresh, read, strict=True):
        assert a.dtype == b.dtype == c.dtype == torch.float32
        assert torch.equal(b, c)
        assert 0 < (a - b).abs().max() < 1e-3 * a.abs().max()
    values = sum(scale[0].numel() for scale in exact)
    assert size_of(tmp_path) < 2 * (2 * values + 1000)


def test_only_unknown_images_of_a_batch_are_computed(cached):
    backbone, many = cached(), images(4)
    backbone(many[1:3])
    together = backbone(many)
    assert (backbone.cache.computed, backbone.cache.read) == (4, 2)
    for scale, alone in zip(together, backbone(many[2:3]), strict=True):
        assert torch.equal(scale[2:3], alone)


@pytest.mark.parametrize("change", ["image", "size", "blocks", "steps", "noise_seed", "dtype", "autocast", "weights"])
def test_whatever_changes_the_features_is_another_entry(cached, change, tmp_path):
    backbone, image = cached(), images(1)
    backbone(image)
    if change == "image":
        image = image.clone()
        image[0, 0, 0, 0] += 1e-6
    elif change == "size":
        image = image[..., :4]
    elif change == "weights":
        with torch.no_grad():
            backbone.unet.conv_in.bias += 0.1
        backbone.unet.save_pretrained(tmp_path / "other_unet")
        backbone = DiffusionBackbone(tmp_path / "other_unet", **OPTIONS, cache=backbone.cache)
    elif change == "dtype":
        backbone = cached(cache={"dtype": "float16"})
    elif change != "autocast":
        backbone = cached(**{change: {"blocks": (3, 1), "steps": (50, 251), "noise_seed": 41}[change]})
    before = backbone.cache.computed
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"):
        backbone(image)
    assert backbone.cache.computed == before + 1


def test_runs_share_a_folder(cached):
    cached()(images(2))
    second = cached()
    second(images(2))
    assert (second.cache.computed, second.cache.read) == (0, 2)


def test_a_damaged_file_is_computed_again(cached, tmp_path):
    backbone = cached()
    expected = backbone(images(1))
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    assert all(torch.equal(a, b) for a, b in zip(backbone(images(1)), expected, strict=True))
    assert backbone.cache.computed == 2
    backbone(images(1))
    assert backbone.cache.read == 1


def test_maps_that_half_precision_cannot_hold_are_kept_whole(tmp_path):
    cache, big = FeatureCache(tmp_path), torch.tensor([[1e6, 1.0]])
    for _ in range(2):
        assert torch.equal(cache(images(1), {}, lambda _: [big])[0], big)


def kilobyte_maps(batch):
    """256 float32 an image: a KiB."""
    return [batch.flatten(1)[:, :1].repeat(1, 256)]


def test_the_folder_stays_within_its_bound_and_old_entries_give_way(tmp_path):
    old = FeatureCache(tmp_path, dtype="float32")
    for seed in range(30):
        old(images(1, seed), {}, kilobyte_maps)
    for path in files(tmp_path):
        os.utime(path, (time.time() - 100, time.time() - 100))
    bounded = FeatureCache(tmp_path, max_gib=40 * 1100 / 2**30, dtype="float32")
    bounded(images(1, 0), {}, kilobyte_maps)  # read again: in use from now on
    for seed in range(100, 130):
        bounded(images(1, seed), {}, kilobyte_maps)
        assert size_of(tmp_path) <= 40 * 1200
    bounded.computed = bounded.read = 0
    for seed in [0, *range(100, 130)]:
        bounded(images(1, seed), {}, kilobyte_maps)
    assert bounded.computed == 0


def test_what_is_in_use_stays_when_more_images_than_fit_go_round(tmp_path, caplog):
    cache = FeatureCache(tmp_path, max_gib=20 * 1100 / 2**30, dtype="float32")
    for _ in range(2):
        cache.read = 0
        for seed in range(40):
            cache(images(1, seed), {}, kilobyte_maps)
    assert 15 <= cache.read <= 20
    assert size_of(tmp_path) <= 20 * 1200
    assert "max_gib" in caplog.text


def test_a_bound_of_zero_keeps_nothing(cached, tmp_path):
    backbone = cached(cache={"max_gib": 0})
    backbone(images(1))
    assert not files(tmp_path)


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, unet_folder):
    (tmp_path / "features").write_text("a file where the folder should be")
    backbone = DiffusionBackbone(unet_folder, **OPTIONS, cache=FeatureCache(tmp_path))
    with pytest.warns(UserWarning, match="cannot be saved"):
        first = backbone(images(1))
    assert all(torch.isfinite(scale).all() for scale in first)
    backbone(images(1))


WRITER = """
import sys, torch
from textdiff_monai import FeatureCache
cache = FeatureCache(sys.argv[1], dtype="float32")
for seed in range(int(sys.argv[2])):
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    cache(image, {}, lambda batch: [batch.flatten(1)[:, :1].repeat(1, 2**16)])
    print(seed, flush=True)
"""


def writer(folder, count):
    command = [sys.executable, "-c", WRITER, str(folder), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_writer_leaves_whole_files_only(tmp_path):
    with writer(tmp_path, 10**6) as process:
        while int(process.stdout.readline()) < 20:
            pass
        process.kill()
    cache = FeatureCache(tmp_path, dtype="float32")
    for seed in range(20):
        cache(images(1, seed), {}, None)  # nothing to compute with
    assert cache.read == 20
    (orphan := next((tmp_path / "features").iterdir()) / ".orphan").write_bytes(bytes(2**19))
    os.utime(orphan, (0, 0))
    FeatureCache(tmp_path, dtype="float32")(images(1, seed=-1), {}, lambda batch: [batch])
    assert not orphan.exists()


def test_two_processes_fill_one_folder(tmp_path):
    processes = [writer(tmp_path, 40) for _ in range(2)]
    assert [process.communicate()[0].split()[-1] for process in processes] == ["39", "39"]
    assert len(files(tmp_path)) == 40
    cache = FeatureCache(tmp_path, dtype="float32")
    for seed in range(40):
        assert torch.equal(cache(images(1, seed), {}, None)[0][0, 0], images(1, seed)[0, 0, 0, 0])


def test_the_default_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Path(cache_folder()).parent == tmp_path
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Path(cache_folder()).is_relative_to(tmp_path / ".cache")


def test_another_precision_of_the_files_is_refused(tmp_path):
    with pytest.raises(ValueError, match="float16"):
        FeatureCache(tmp_path, dtype="int8")

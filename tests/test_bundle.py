"""Every shipped configuration runs, from any working directory, on tiny data and encoders."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import textdiff_monai
from textdiff_monai import DiffusionBackbone, FeatureCache, read_recipe
from textdiff_monai.apps.segment import segment
from textdiff_monai.data.files import write_rows

BUNDLE = Path(__file__).parents[1] / "bundle"
CONFIGS = BUNDLE / "configs"
UNET_WEIGHTS = "diffusion_pytorch_model.safetensors"
HEAD = {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": [8, 8]}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def inference_options(tiny):
    unused = {"ckpt_dir", "max_epochs"}
    return {name: value for name, value in tiny.items() if name not in unused}


def test_train_evaluate_and_infer(run, tiny, data_folder, tmp_path):
    run("train.json", run_id="training", **tiny)
    history = rows(tmp_path / "output" / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert {"loss", "val_mean_dice", "val_mean_iou", "val_dataset_dice"} <= set(history[0])
    assert (tmp_path / "models" / "model.pt").stat().st_size < 1_000_000

    run("train.json", "evaluate.json", **tiny)
    report = json.loads((tmp_path / "output" / "test" / "metrics.json").read_text())
    cases = rows(tmp_path / "output" / "test" / "cases.csv")
    assert report["images"] == len(cases) == 4
    assert report["mean_dice"] == pytest.approx(sum(float(case["mean_dice"]) for case in cases) / 4)
    assert {"id", "text", "mean_dice", "mean_iou"} <= set(cases[0])

    run(
        "inference.json",
        **inference_options(tiny) | {"dataset_dir": data_folder / "images", "text": "the left is high"},
        checkpoint=tmp_path / "models" / "model.pt",
    )
    masks = sorted((tmp_path / "output").glob("*_mask.png"))
    assert len(masks) == 10
    assert Image.open(masks[0]).size == (40, 32)
    assert set(np.unique(np.asarray(Image.open(masks[0])))) <= {0, 1}


def test_several_heads_with_details_are_trained_calibrated_and_used_as_one(run, tiny, data_folder, tmp_path):
    run("train.json", run_id="training", **tiny | {"heads": 3, "detail_channels": 4, "max_epochs": 1})
    checkpoint = tmp_path / "models" / "model.pt"
    recipe = read_recipe(checkpoint)
    assert (recipe["heads"], recipe["detail_channels"]) == (3, 4)
    run("train.json", "evaluate.json", "calibrate.json", **tiny)
    temperature = read_recipe(checkpoint)["temperature"]
    run("train.json", "evaluate.json", **tiny)
    report = json.loads((tmp_path / "output" / "test" / "calibration.json").read_text())
    assert report["temperature"] == temperature != 1
    metrics = json.loads((tmp_path / "output" / "test" / "metrics.json").read_text())
    assert 0 <= metrics["expected_dice"] <= 1
    assert metrics["presence_auc"] is None  # every target is there
    cases = rows(tmp_path / "output" / "test" / "cases.csv")
    assert all(case["expected_dice"] for case in cases)
    apart = [float(case["mean_disagreement"]) for case in cases if case["mean_disagreement"]]
    assert metrics["mean_disagreement"] == pytest.approx(sum(apart) / len(apart), abs=1e-5)
    assert 0 < metrics["mean_disagreement"] < 1
    with Image.open(tmp_path / "output" / "test" / "pictures" / f"{cases[0]['id']}.webp") as picture:
        assert picture.width > 4 * 150  # picture, truth, prediction and where the heads disagree
    options = {name: str(tiny[name]) for name in ENCODERS} | {"device": "cpu", "checkpoint": str(checkpoint)}
    masks = segment(str(data_folder / "images"), "left", tmp_path / "segmented", **options)
    assert len(masks) == 10
    for row in rows(tmp_path / "segmented" / "results.csv"):
        apart = np.asarray(Image.open(tmp_path / "segmented" / row["disagreement"])) / 255
        marked = np.asarray(Image.open(tmp_path / "segmented" / row["mask"])) > 0
        assert apart.shape == marked.shape == (32, 40)
        told = float(row["mean_disagreement"]) if marked.any() else row["mean_disagreement"]
        assert told == (pytest.approx(apart[marked].mean(), abs=1 / 255) if marked.any() else "")


ENCODERS = ("backbone", "text_encoder")
OTHERS = {
    "blocks": ([0, 3], "trained with blocks [1, 3], given [0, 3]"),
    "steps": ([50, 260], "trained with steps [50, 250], given [50, 260]"),
    "noise_seed": ("$None", "trained with noise_seed 40, given None"),
    "max_tokens": (9, "trained with max_tokens 12, given 9"),
    "mask_padding": (False, "trained with mask_padding True, given False"),
    "norm": ("batch", "trained with norm ['instance', {'affine': True}], given batch"),
    "head": (HEAD | {"heads": 1}, "trained with head.heads 2, given 1"),
    "detail_channels": (4, "trained with detail_channels 0, given 4"),
    "num_classes": (3, "trained with num_classes 2, given 3"),
    "class_names": (
        ["background", "lung"],
        "class_names ['background', 'nuclei'], given ['background', 'lung']",
    ),
    "channels": ("BGR", "trained with channels RGB, given BGR"),
    "intensity_range": ([0, 255], "trained with intensity_range [0, 200], given [0, 255]"),
    "resize": (16, "trained with resize 24, given 16"),
    "scales": ({"nuclei": 2}, "trained with scales None, given {'nuclei': 2}"),
    "tile": (16, "trained with tile None, given 16"),
    "read_text": (False, "trained with read_text True, given False"),
}


@pytest.fixture(scope="module")
def trained(unet_folder, bert_folder, data_folder, tmp_path_factory):
    """A run whose every option of the recipe differs from what the configurations start with, and its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    options = {
        **{"blocks": [1, 3], "steps": [50, 250], "resize": 24, "max_tokens": 12, "intensity_range": [0, 200]},
        **{"class_names": ["background", "nuclei"], "max_epochs": 1, "device": "cpu", "amp": False},
        "head": HEAD,
    }
    places = {"dataset_dir": data_folder, "backbone": unet_folder, "text_encoder": bert_folder}
    places |= {"output_dir": folder, "ckpt_dir": folder}
    places = {name: str(path) for name, path in places.items()}
    monai.bundle.run("training", config_file=str(CONFIGS / "train.json"), **places, **options)
    return folder / "model.pt", places


def test_a_checkpoint_is_enough_to_evaluate_and_infer_as_it_was_trained(trained, run, data_folder, tmp_path):
    checkpoint, places = trained
    run("train.json", "evaluate.json", **places)
    last = torch.load(checkpoint.with_name("last.pt"), weights_only=True)["network"]
    assert set(last) == set(torch.load(checkpoint, weights_only=True))
    encoders = {name: places[name] for name in ENCODERS}
    options = {"checkpoint": str(checkpoint), "device": "cpu", **encoders}
    images = str(data_folder / "images")
    run("inference.json", **options, dataset_dir=images, text="left", output_dir=tmp_path / "masks")
    segment(images, "left", tmp_path / "segmented", **options)
    explicit = {"resize": 24, "blocks": [1, 3], "class_names": ["background", "nuclei"]}
    run("inference.json", **options | explicit, dataset_dir=images, text="left", output_dir=tmp_path / "explicit")
    masks = sorted((tmp_path / "masks").glob("*_mask.png"))
    assert len(masks) == 10
    for mask in masks:
        one, same, other = (
            np.asarray(Image.open(tmp_path / folder / mask.name)) for folder in ("masks", "explicit", "segmented")
        )
        assert np.array_equal(one, same)
        assert np.array_equal(one > 0, other > 0)


def test_targets_are_drawn_evenly_and_small_ones_seen_larger_from_a_start(trained, run, tmp_path):
    checkpoint, places = trained
    folder = {"output_dir": str(tmp_path), "ckpt_dir": str(tmp_path)}
    options = {"start": str(checkpoint), "learning_rate": 0.0, "scales": {"nuclei": 2}, "draw_evenly": "text"}
    shape = {"blocks": [1, 3], "steps": [50, 250], "head": HEAD, "max_tokens": 12, "device": "cpu", "amp": False}
    run("train.json", run_id="training", **places | folder, **options, **shape, resize=16, draws=3, max_epochs=1)
    before, after = (torch.load(path, weights_only=True) for path in (checkpoint, tmp_path / "model.pt"))
    weights = [name for name in before if not name.startswith("recipe")]
    assert all(torch.equal(before[name], after[name]) for name in weights)
    assert read_recipe(tmp_path / "model.pt")["scales"] == {"nuclei": 2}
    assert torch.load(tmp_path / "last.pt", weights_only=True)["engine"]["epoch_length"] == 3


@pytest.mark.parametrize("name", OTHERS)
def test_an_option_that_contradicts_the_checkpoint_is_an_error_with_both_values(name, trained, run, tmp_path):
    checkpoint, places = trained
    value, expected = OTHERS[name]
    encoders = {part: places[part] for part in ENCODERS}
    options = {"checkpoint": str(checkpoint), "device": "cpu", **encoders, name: value}
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        segment(places["dataset_dir"], out=tmp_path / "out", **options)
    assert str(caught.value).startswith(str(checkpoint))
    for files in (["inference.json"], ["train.json", "evaluate.json"]):
        with pytest.raises(RuntimeError) as wrapped:
            run(*files, **places | options | {"output_dir": str(tmp_path / "out")})
        assert expected in str(root_cause(wrapped.value))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ENCODERS)
def test_another_encoder_is_one_too(part, trained, unet_folder, bert_folder, tmp_path):
    checkpoint, places = trained
    options = {name: places[name] for name in ENCODERS}
    options[part] = str(shutil.copytree(places[part], tmp_path / part))
    (file,) = (tmp_path / part).glob("*.safetensors")
    tensors = load_file(file)
    save_file({name: tensor + 0.01 for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"encoders\.{part}\.weights \w{{12}}\.\.\., given \w{{12}}\.\.\."):
        segment(places["dataset_dir"], out=tmp_path / "out", checkpoint=str(checkpoint), device="cpu", **options)


def test_who_insists_gets_the_option_that_was_given(trained, run, data_folder, tmp_path):
    checkpoint, places = trained
    options = {"checkpoint": str(checkpoint), "device": "cpu", "output_dir": tmp_path / "out"}
    options |= {name: places[name] for name in ENCODERS}
    with pytest.warns(UserWarning, match="trained with resize 24, given 16"):
        run("inference.json", **options, dataset_dir=data_folder, resize=16, override_recipe=True)
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 10


def test_a_run_goes_on_under_its_own_recipe_alone(run, tiny):
    run("train.json", **tiny)
    with pytest.raises(RuntimeError) as wrapped:
        run("train.json", **tiny | {"resize": 16}, resume=True)
    assert "trained with resize 32, given 16" in str(root_cause(wrapped.value))
    with pytest.raises(RuntimeError) as wrapped:
        run("train.json", **tiny | {"reword": 0.0, "deny": 0.5}, resume=True)
    assert "began with deny 0.0 (now 0.5), reword 0.8 (now 0.0)" in str(root_cause(wrapped.value))


def root_cause(error):
    return error if error.__cause__ is None else root_cause(error.__cause__)


def test_without_validation_rows_the_last_weights_are_the_model(run, tiny, data_folder, tmp_path, capfd):
    shutil.copytree(data_folder, tmp_path / "data")
    (tmp_path / "data" / "text.csv").write_text((data_folder / "text.csv").read_text().replace(",val", ",train"))
    options = tiny | {"dataset_dir": tmp_path / "data"}
    run("train.json", run_id="training", **options)
    assert f"without validation the best epoch is unknown: {tmp_path}/models/model.pt" in capfd.readouterr().out
    model = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    last = torch.load(tmp_path / "output" / "last.pt", weights_only=True)["network"]
    assert all(torch.equal(model[name], last[name]) for name in last)
    assert list(rows(tmp_path / "output" / "history.csv")[1]) == ["epoch", "loss"]
    run("train.json", "evaluate.json", **options)
    assert json.loads((tmp_path / "output" / "test" / "metrics.json").read_text())["items"] == 4


@pytest.mark.parametrize("key_metric", ["$None", {}])
def test_without_a_key_metric_the_last_weights_are_the_model(run, tiny, tmp_path, key_metric):
    run("train.json", run_id="training", **tiny, **{"validate#key_metric": key_metric})
    assert (tmp_path / "models" / "model.pt").exists()
    assert len(rows(tmp_path / "output" / "history.csv")) == 2


def test_no_training_rows_are_an_error_that_says_so(run, tiny, data_folder, tmp_path):
    with pytest.raises(RuntimeError) as wrapped:
        run("train.json", **tiny, **{"train#dataset#data": []})
    assert "no item is in the split train, only in: val (2)" in str(root_cause(wrapped.value))


def test_a_lower_precision_trains_and_infers_on_a_cpu(run, tiny, tmp_path):
    lower = {"amp": True, "amp_dtype": "bfloat16"}
    run("train.json", run_id="training", **tiny | lower)
    losses = [float(row["loss"]) for row in rows(tmp_path / "output" / "history.csv")]
    run("train.json", run_id="training", **tiny)
    exact = [float(row["loss"]) for row in rows(tmp_path / "output" / "history.csv")]
    assert losses != exact
    assert losses == pytest.approx(exact, rel=0.05)
    run("inference.json", **inference_options(tiny) | lower, checkpoint=tmp_path / "models" / "model.pt")
    assert len(list((tmp_path / "output").glob("*_mask.png"))) > 4


def test_a_compiled_network_reads_the_same_sentences(run, tmp_path):
    """MONAI takes the metadata, sentences among it, from the images of a compiled network."""
    film = BUNDLE / "data" / "lungs" / "images" / "90070cbc.jpg"
    (tmp_path / "ask.csv").write_text(f"image,text\n{film},Segment the left lung.\n{film},Segment the right lung.\n")
    options = {"dataset_dir": tmp_path / "ask.csv", "cache_dir": tmp_path / "cache", "device": "cpu", "amp": False}
    run("inference.json", **options, output_dir=tmp_path / "plain")
    compiled = {"evaluator#compile": True, "evaluator#compile_kwargs": {"backend": "eager"}}
    run("inference.json", **options, output_dir=tmp_path / "compiled", **compiled)
    masks = sorted((tmp_path / "plain").glob("*_mask.png"))
    assert len(masks) == 2
    for mask in masks:
        pair = np.asarray(Image.open(mask)), np.asarray(Image.open(tmp_path / "compiled" / mask.name))
        assert pair[0].any()
        assert np.mean(pair[0] != pair[1]) < 1e-3, mask.name


def test_odd_names_are_trained_on_and_evaluated(run, tiny, data_folder, tmp_path):
    names = [
        "$x.png",
        "@y.png",
        "%z.png",
        "[1].png",
        "IMG 1.PNG",
        "ünï.png",
        "日本.png",
        "a.b.c.png",
        "#1.png",
        "{a}.png",
    ]
    table, folder = [], tmp_path / "odd"
    for old, name in zip(rows(data_folder / "text.csv"), names, strict=True):
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(data_folder / kind / old["image"], folder / kind / name)
        table.append(old | {"image": name, "mask": name})
    write_rows(folder / "text.csv", table)
    options = tiny | {"dataset_dir": folder, "max_epochs": 1}
    run("train.json", **options)
    run("train.json", "evaluate.json", **options)
    cases = rows(tmp_path / "output" / "test" / "cases.csv")
    assert {case["id"] for case in cases} == {"日本", "a.b.c", "#1", "{a}"}


@pytest.fixture
def targets_folder(tmp_path):
    """Four pictures with two discs each; a row asks for the left one, one for the right one, one for what is absent."""
    rng, lines = np.random.default_rng(0), ["image,mask,text,split,target"]
    for number, split in enumerate(["train", "train", "val", "test"]):
        image = rng.integers(0, 90, (32, 32)).astype(np.uint8)
        image[8:20, 2:14] += 120
        image[8:20, 18:30] += 120
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        for target, columns in {"left": slice(2, 14), "right": slice(18, 30), "lung": slice(0, 0)}.items():
            mask = np.zeros((32, 32), np.uint8)
            mask[8:20, columns] = 255
            Image.fromarray(mask).save(tmp_path / f"{number}_{target}.png")
            lines.append(f"{number}.png,{number}_{target}.png,the {target} is high,{split},{target}")
    (tmp_path / "text.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_several_targets_of_an_image_are_trained_and_reported_with_its_features_computed_once(
    run, tiny, targets_folder, tmp_path, monkeypatch
):
    computed, call = [], FeatureCache.__call__

    def counted(self, images, identity, compute):
        return call(self, images, identity, lambda some: computed.extend(some) or compute(some))

    monkeypatch.setattr(FeatureCache, "__call__", counted)
    options = tiny | {"dataset_dir": targets_folder, "cache_dir": tmp_path / "cache", "batch_size": 4}
    run("train.json", **options | {"symmetries": ["identity"], "num_labelled": 2})
    assert len(computed) == 3  # two images of training, one of validation
    run("train.json", "evaluate.json", **options, group_by="target")
    assert len(computed) == 4
    report = json.loads((tmp_path / "output" / "test" / "metrics.json").read_text())
    assert (report["images"], report["items"]) == (1, 3)
    cases = rows(tmp_path / "output" / "test" / "cases.csv")
    assert [(case["id"], case["text"]) for case in cases] == [
        ("3", "the left is high"),
        ("3_2", "the right is high"),
        ("3_3", "the lung is high"),
    ]
    assert [group["target"] for group in rows(tmp_path / "output" / "test" / "groups.csv")] == ["left", "lung", "right"]


@pytest.mark.parametrize("column", ["organ", "image"])
def test_a_column_to_group_by_that_is_not_there_is_told_before_any_work(run, tiny, targets_folder, tmp_path, column):
    with pytest.raises(RuntimeError) as wrapped:  # there is no checkpoint yet
        run("train.json", "evaluate.json", **tiny | {"dataset_dir": targets_folder}, group_by=column)
    told = f"group_by: the table has no column '{column}'; it has text, split, target, id"
    assert str(root_cause(wrapped.value)) == told
    assert not (tmp_path / "output").exists()


@pytest.fixture
def kinds_folder(tmp_path):
    """Bright pictures that show an optic disc, dark ones that show the left lung."""
    lines, rng = ["image,mask,text,split"], np.random.default_rng(0)
    Image.new("L", (32, 32), 255).save(tmp_path / "mask.png")
    for number in range(8):
        kind, text = (("bright", "optic disc"), ("dark", "left lung"))[number % 2]
        pixels = rng.integers(*((150, 255) if kind == "bright" else (0, 60)), (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{kind}{number}.png")
        lines.append(f"{kind}{number}.png,mask.png,Segment the {text}.,{'train' if number < 6 else 'test'}")
    (tmp_path / "text.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_target_of_other_kinds_of_pictures_is_not_marked_unless_asked_for(run, tiny, kinds_folder, tmp_path):
    run("train.json", run_id="training", **tiny | {"dataset_dir": kinds_folder, "max_epochs": 1, "cache_gib": 0})
    options = inference_options(tiny) | {"dataset_dir": kinds_folder / "bright6.png", "text": "Segment the left lung."}
    doubts = []
    for name, option in {"familiar": {}, "all": {"only_familiar": False}}.items():
        options |= {"output_dir": tmp_path / name, "checkpoint": tmp_path / "models" / "model.pt"}
        run("inference.json", **options | option)
        (row,) = rows(tmp_path / name / "results.csv")
        doubts.append((row["doubt"], float(row["highest_probability"]) < 1e-6))
    assert doubts[1] == ("", False)
    assert "unlike the training pictures that show lung" in doubts[0][0]
    assert doubts[0][1]


def test_tiles_in_training_and_sliding_windows_in_evaluation(run, tiny, tmp_path):
    run("train.json", **tiny | {"tile": 16, "max_epochs": 1})
    assert rows(tmp_path / "output" / "history.csv")
    known = read_recipe(tmp_path / "models" / "model.pt")
    assert (known["tile"], known["resize"]) == (16, None)
    run("train.json", "evaluate.json", **tiny | {"tile": 16})
    with pytest.raises(RuntimeError) as wrapped:
        run("train.json", "evaluate.json", **tiny | {"tile": "$None"})
    assert "trained with tile 16, given None" in str(root_cause(wrapped.value))


SMALL = {"unet#channels": [4, 4, 4, 4, 4]}
OVERLAYS = {
    "qata_cov19.json": {},
    "monuseg.json": {},
    "paper.json": {"max_tokens": 10},
    "unet.json": SMALL,
    "unet.json unet_text.json": SMALL,
    "targets.json": {"draw_evenly": "text", "draws": 3},
}


@pytest.mark.parametrize("overlays", OVERLAYS)
def test_overlays_train_and_evaluate(run, overlays, tiny, tmp_path):
    options = tiny | OVERLAYS[overlays] | {"max_epochs": 1}
    run("train.json", *overlays.split(), **options)
    run("train.json", *overlays.split(), "evaluate.json", **options)
    assert json.loads((tmp_path / "output" / "test" / "metrics.json").read_text())["images"] == 4


def test_a_u_net_reads_its_sentence_and_heads_may_be_pixel_classifiers(run, tiny, tmp_path):
    u_net = ["train.json", "unet.json", "unet_text.json"]
    run(*u_net, **tiny | SMALL | {"max_epochs": 1})
    dice = {}
    for captions in ("own", "none", "swapped"):
        run(*u_net, "evaluate.json", **tiny | SMALL, captions=captions)
        folder = tmp_path / "output" / ("test" if captions == "own" else f"test_captions_{captions}")
        dice[captions] = [case["expected_dice"] for case in rows(folder / "cases.csv")]
    assert dice["own"] != dice["none"] != dice["swapped"] != dice["own"]
    with pytest.raises(RuntimeError) as wrapped:
        run(*u_net, "evaluate.json", **tiny | SMALL, read_text=False)
    assert "trained with read_text True, given False" in str(root_cause(wrapped.value))

    head = {"head": {"kind": "pixels", "hidden_channels": [8, 8]}, "read_text": False, "heads": 2}
    run("train.json", run_id="training", **tiny | head | {"max_epochs": 1})
    assert read_recipe(tmp_path / "models" / "model.pt")["head"] == head["head"]
    options = {name: str(tiny[name]) for name in ENCODERS} | {"device": "cpu"}
    options["checkpoint"] = str(tmp_path / "models" / "model.pt")
    assert len(segment(str(tiny["dataset_dir"] / "images"), out=tmp_path / "segmented", **options)) == 10


def test_pretraining_makes_a_backbone_and_goes_on(run, data_folder, tmp_path):
    options = {
        "images": [str(data_folder), str(data_folder / "images")],
        "output_dir": tmp_path / "pretrain",
        "image_size": 16,
        "batch_size": 2,
        "iterations_per_epoch": 2,
        "scheduler#lr_lambda": "$lambda step: 1.0",  # whatever max_epochs is
        "unet#block_out_channels": [8, 16],
        "unet#down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "unet#up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "unet#attention_head_dim": 8,
        "unet#norm_num_groups": 4,
        "unet#attn_norm_num_groups": 4,
    }
    run("pretrain.json", run_id="training", max_epochs=1, **options)
    first = DiffusionBackbone(tmp_path / "pretrain" / "diffusion_unet", blocks=[1], steps=[50]).identity
    run("pretrain.json", run_id="training", max_epochs=2, **options)
    second = DiffusionBackbone(tmp_path / "pretrain" / "diffusion_unet", blocks=[1], steps=[50]).identity
    saved = json.loads((tmp_path / "pretrain" / "diffusion_unet" / "scheduler_config.json").read_text())
    config = json.loads((CONFIGS / "pretrain.json").read_text())
    for noised in (config["inferer"]["scheduler"], config["trainer"]["prepare_batch"]):
        assert noised["num_train_timesteps"] == saved["num_train_timesteps"]  # by which features will be read
    progress = torch.load(tmp_path / "pretrain" / "last.pt", weights_only=True)
    assert progress["engine"]["epoch_length"] * 2 == progress["engine"]["iteration"] == 4
    assert first["weights"] != second["weights"]
    assert {"network", "ema", "optimizer", "scheduler"} <= set(progress)
    evaluations = rows(tmp_path / "pretrain" / "held_out.csv")
    assert {row["epoch"] for row in evaluations} == {"0", "1", "2"}

    run("pretrain.json", run_id="training", max_epochs=2, **(options | {"output_dir": tmp_path / "at_once"}))
    at_once = DiffusionBackbone(tmp_path / "at_once" / "diffusion_unet", blocks=[1], steps=[50]).identity
    assert at_once["weights"] == second["weights"]
    with pytest.raises(RuntimeError) as wrapped:  # not the first pictures' UNet for others
        run("pretrain.json", run_id="training", max_epochs=2, **(options | {"images": str(data_folder)}))
    assert f"began with images {options['images']} (now {data_folder})" in str(root_cause(wrapped.value))

    start = {
        "start": tmp_path / "pretrain" / "diffusion_unet",
        "output_dir": tmp_path / "further",
        "learning_rate": 0.0,
    }
    run("pretrain.json", run_id="training", max_epochs=1, **(options | start | {"num_workers": 1}))
    names = [tmp_path / name / "diffusion_unet" / UNET_WEIGHTS for name in ("pretrain", "further")]
    before, after = map(load_file, names)
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight)


def test_two_processes_train_together(tiny, tmp_path):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "monai.bundle",
    ]
    files = [str(CONFIGS / name) for name in ("train.json", "multi_gpu_train.json")]
    command += ["run", "training", "--config_file", str(files)]
    drawn = {"draw_evenly": "text", "draws": 6}
    for name, value in (tiny | drawn | {"device": "$torch.device('cpu')"}).items():
        command += [f"--{name}", str(value)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert [row["epoch"] for row in rows(tmp_path / "output" / "history.csv")] == ["1", "2"]
    assert torch.load(tmp_path / "output" / "last.pt", weights_only=True)["engine"]["epoch_length"] == 3  # of 6


@pytest.mark.parametrize(("options", "each"), [({}, 4), ({"draws": 3}, 3), ({"draws": 3, "draw_evenly": "text"}, 3)])
def test_so_many_items_are_drawn_in_an_epoch(tiny, options, each):
    for files in (["train.json"], ["train.json", "multi_gpu_train.json"])[: 1 + bool(options)]:
        parser = monai.bundle.ConfigParser()
        parser.read_config([str(CONFIGS / name) for name in files])
        parser.update(
            {name: str(value) if isinstance(value, Path) else value for name, value in tiny.items()} | options
        )
        assert len(list(parser.get_parsed_content("train#sampler"))) == each


def test_mlflow_holds_the_figures_of_history(run, tiny, tmp_path):
    pytest.importorskip("mlflow")
    run("train.json", **tiny | {"val_interval": 1}, tracking="mlflow")
    with sqlite3.connect(tmp_path / "output" / "mlruns.db") as database:
        logged = database.execute("select key, step, value from metrics").fetchall()
    history = rows(tmp_path / "output" / "history.csv")
    assert len(history) == 2
    names = [name.removeprefix("val_") for name in history[0] if name.startswith("val_")]
    assert {"mean_dice", "mean_iou", "dataset_dice"} <= set(names)
    for name in names:
        tracked = [value for key, _, value in sorted(logged, key=lambda one: one[1]) if key == name]
        assert tracked == pytest.approx([float(row[f"val_{name}"]) for row in history], rel=1e-5), name
    steps = [value for key, _, value in sorted(logged, key=lambda one: one[1]) if key == "loss"]
    for epoch, of in enumerate(zip(*[iter(steps)] * (len(steps) // 2), strict=True)):
        assert sum(of) / len(of) == pytest.approx(float(history[epoch]["loss"]), rel=1e-5)


def test_what_training_evaluation_and_inference_share_is_the_same_in_each():
    train, evaluate, inference = (
        json.loads((CONFIGS / name).read_text()) for name in ("train.json", "evaluate.json", "inference.json")
    )
    facts = {"encoders", "words", "targets", "centres", "radius", "figures", "temperature", "least_presence"}
    facts |= {"pictures"}
    newer = {"plane", "neighbours", "heads", "detail_channels"}  # than some heads
    known = read_recipe(BUNDLE / "models" / "model.pt").keys() - facts - newer
    for name in known:
        assert evaluate[name] == inference[name] == f"$@trained['{name}']"
        assert name in train
    assert evaluate["trained"] == inference["trained"]
    recipe = train["recipe"] | {"checkpoint": evaluate["recipe#checkpoint"]}
    assert recipe == inference["recipe"]
    assert recipe.keys() - {"_target_", "checkpoint", "override"} - newer < known
    own = {"imports", "bundle_root", "dataset_dir", "output_dir", "initialize", "run", "datalist", "recipe"}
    for name in (train.keys() & inference.keys()) - own - known - newer:
        assert train[name] == inference[name], name
    calibrated = {"temperature": "@temperature", "least_presence": "@least_presence"}
    calibrated["familiarity"] = evaluate["validate#inferer#familiarity"]
    assert train["validate"]["inferer"] | calibrated == inference["inferer"]


def test_metadata_names_its_version_and_the_packages():
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    assert metadata["version"] == textdiff_monai.__version__ in metadata["changelog"]
    assert metadata["version"] in (BUNDLE.parent / "CHANGELOG.md").read_text()

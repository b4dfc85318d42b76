"""Every shipped configuration runs, from any working directory, on tiny data and encoders."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import textdiff_monai
from textdiff_monai import DiffusionBackbone, FeatureCache, TextDiff

BUNDLE = Path(__file__).parents[1] / "bundle"
CONFIGS = BUNDLE / "configs"
UNET_WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def tiny(unet_folder, bert_folder, data_folder, tmp_path):
    """Overrides that make every workflow small."""
    return {
        "dataset_dir": data_folder,
        "output_dir": tmp_path / "output",
        "ckpt_dir": tmp_path / "models",
        "backbone": unet_folder,
        "text_encoder": bert_folder,
        "blocks": [1, 3],
        "steps": [50, 250],
        "head": {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": [8, 8]},
        "resize": 32,
        "max_epochs": 2,
        "device": "cpu",
        "amp": False,
    }


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs configurations in this process, from a working directory that is not the bundle's."""
    monkeypatch.chdir(tmp_path)

    def run(*names, run_id="run", **overrides):
        overrides = {name: str(value) if isinstance(value, Path) else value for name, value in overrides.items()}
        monai.bundle.run(run_id, config_file=[str(CONFIGS / name) for name in names], **overrides)

    return run


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
    options = {"cache_dir": tmp_path / "cache", "device": "cpu", "amp": False}
    run("inference.json", **options, output_dir=tmp_path / "plain")
    compiled = {"evaluator#compile": True, "evaluator#compile_kwargs": {"backend": "eager"}}
    run("inference.json", **options, output_dir=tmp_path / "compiled", **compiled)
    masks = sorted((tmp_path / "plain").glob("*_mask.png"))
    assert masks
    for mask in masks:
        pair = np.asarray(Image.open(mask)), np.asarray(Image.open(tmp_path / "compiled" / mask.name))
        assert pair[0].any()
        assert np.mean(pair[0] != pair[1]) < 1e-3, mask.name


def test_training_goes_on_where_it_stopped(run, tiny, tmp_path):
    run("train.json", **tiny)
    run("train.json", **tiny | {"max_epochs": 3}, resume=True)
    assert [row["epoch"] for row in rows(tmp_path / "output" / "history.csv")] == ["1", "2", "3"]


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


def test_tiles_in_training_and_sliding_windows_in_evaluation(run, tiny, tmp_path):
    run("train.json", **tiny | {"resize": None, "tile": 16, "max_epochs": 1})
    assert rows(tmp_path / "output" / "history.csv")


@pytest.mark.parametrize("overlay", ["qata_cov19.json", "monuseg.json", "paper.json", "unet.json"])
def test_overlays_train_and_evaluate(run, overlay, tiny, tmp_path):
    options = tiny | ({"max_tokens": 10} if overlay == "paper.json" else {}) | {"max_epochs": 1}
    if overlay == "unet.json":
        options["network_def#channels"] = [4, 4, 4, 4, 4]
    run("train.json", overlay, **options)
    run("train.json", overlay, "evaluate.json", **options)
    assert json.loads((tmp_path / "output" / "test" / "metrics.json").read_text())["images"] == 4


def test_pretraining_makes_a_backbone_and_goes_on(run, data_folder, tmp_path):
    options = {
        "images": [str(data_folder), str(data_folder / "images")],
        "output_dir": tmp_path / "pretrain",
        "image_size": 16,
        "batch_size": 2,
        "iterations_per_epoch": 2,
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
    progress = torch.load(tmp_path / "pretrain" / "last.pt", weights_only=True)
    assert progress["engine"]["epoch_length"] * 2 == progress["engine"]["iteration"] == 4
    assert first["weights"] != second["weights"]
    assert {"network", "ema", "optimizer", "scheduler"} <= set(progress)
    evaluations = rows(tmp_path / "pretrain" / "held_out.csv")
    assert {row["epoch"] for row in evaluations} == {"0", "1", "2"}

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
    for name, value in (tiny | {"device": "$torch.device('cpu')"}).items():
        command += [f"--{name}", str(value)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert [row["epoch"] for row in rows(tmp_path / "output" / "history.csv")] == ["1", "2"]


def test_mlflow_tracks_a_training(run, tiny, tmp_path):
    pytest.importorskip("mlflow")
    run("train.json", **tiny | {"max_epochs": 1}, tracking="mlflow")
    with sqlite3.connect(tmp_path / "output" / "mlruns.db") as database:
        assert database.execute("select count(*) from metrics where key = 'mean_dice'").fetchone()[0]


@pytest.mark.parametrize(("config", "kind"), [("train.json", "training"), ("inference.json", "inference")])
def test_workflows_have_every_property(config, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workflow = monai.bundle.create_workflow(
        workflow_type=kind, config_file=str(CONFIGS / config), bundle_root=str(BUNDLE), device="cpu"
    )
    assert workflow.check_properties() == []
    assert isinstance(workflow.network_def, TextDiff)


def test_network_has_the_inputs_and_outputs_of_the_metadata(tiny, bert_folder, unet_folder):
    monai.bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "inference.json"),
        n=2,
        **inference_options({k: str(v) if isinstance(v, Path) else v for k, v in tiny.items()}),
    )


def test_shared_options_are_the_same_in_training_and_inference():
    train, inference = (json.loads((CONFIGS / name).read_text()) for name in ("train.json", "inference.json"))
    own = {"imports", "bundle_root", "dataset_dir", "output_dir", "initialize", "run", "datalist"}
    for name in (train.keys() & inference.keys()) - own:
        assert train[name] == inference[name], name
    assert train["validate"]["inferer"] == inference["inferer"]


def test_metadata_names_its_version_and_the_packages():
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    assert metadata["version"] == textdiff_monai.__version__ in metadata["changelog"]
    assert metadata["version"] in (BUNDLE.parent / "CHANGELOG.md").read_text()
    assert (BUNDLE / "LICENSE").read_text() == (BUNDLE.parent / "LICENSE").read_text()


@pytest.mark.realdata
def test_metadata_follows_the_schema(real_data):
    monai.bundle.verify_metadata(
        meta_file=str(CONFIGS / "metadata.json"), filepath=str(real_data / "reference" / "meta_schema_20240725.json")
    )

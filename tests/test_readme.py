"""Every command and every line of code in the README runs, in its order, on tiny data and encoders."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import fire
import monai.bundle
import pytest
from PIL import Image

from textdiff_monai.apps import cli, fetch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.partition("  #")[0].strip() for language, block in BLOCKS if not language for line in block.splitlines()
]
WHEEL = ["pip install textdiff_monai-*.whl", "textdiff demo"]  # as tests/test_wheel.py does
SETUP = [command for command in COMMANDS if command.startswith(("make ", "python3 -m venv", ".venv/bin/"))]
TORCHRUN = [command for command in COMMANDS if command.startswith("torchrun ")]
JOBS = [
    command
    for command in COMMANDS
    if command.startswith(("textdiff ", "python -m monai.bundle ")) and command not in WHEEL
]
TINY_HEAD = "{'channels': 16, 'heads': 2, 'head_channels': 8, 'hidden_channels': [8, 8]}"
TINY_UNET = {
    "image_size": "16",
    "batch_size": "2",
    "iterations_per_epoch": "2",
    "unet#block_out_channels": "[8, 16]",
    "unet#down_block_types": "['DownBlock2D', 'AttnDownBlock2D']",
    "unet#up_block_types": "['AttnUpBlock2D', 'UpBlock2D']",
    "unet#attention_head_dim": "8",
    "unet#norm_num_groups": "4",
    "unet#attn_norm_num_groups": "4",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, data_folder, unet_folder):
    """Where the README's placeholders lie; what one command writes the next ones find."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "bundle").symlink_to(ROOT / "bundle")
    names = {
        name: str(folder / name) for name in ("RUN", "PRETRAINED", "PREDICTIONS", "COMPARED", "FITTED", "SEGMENTED")
    }
    image = folder / "xray.png"
    Image.open(next((data_folder / "images").iterdir())).save(image)
    return folder, names | {
        "DATA": str(data_folder), "QATA": str(data_folder), "MONUSEG": str(data_folder),
        "IMAGES": str(data_folder / "images"), "IMAGE": str(image), "UNET": str(unet_folder),
    }  # fmt: skip


def test_every_command_is_of_a_known_kind():
    assert set(COMMANDS) - {""} == {*WHEEL, *SETUP, *TORCHRUN, *JOBS}
    assert len(JOBS) > 10


@pytest.mark.slow
@pytest.mark.parametrize("command", TORCHRUN)
def test_several_processes_train(command, place, unet_folder, bert_folder):
    folder, names = place
    words = [sys.executable, "-m", "torch.distributed.run", *shlex.split(filled(command, names))[1:]]
    for name, value in tiny_options(words, unet_folder, bert_folder).items():
        words += [f"--{name}", value]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    subprocess.run(words, cwd=folder, env=environment, check=True, timeout=300)


def test_the_commands_without_make_are_those_of_make():
    targets = {command.split()[1] for command in SETUP if command.startswith("make ")}
    assert {"demo", "test"} <= targets
    run = subprocess.run(["make", "-n", "-B", *sorted(targets)], cwd=ROOT, capture_output=True, text=True, check=True)
    for command in SETUP:
        assert command.startswith("make ") or command in run.stdout


@pytest.mark.parametrize("command", JOBS)
def test_jobs_run(command, place, data_folder, unet_folder, bert_folder, monkeypatch):
    folder, names = place
    monkeypatch.chdir(folder)
    words = shlex.split(filled(command, names))
    if words[0] == "textdiff":
        _run_verb(words[1:], tiny_options(words, unet_folder, bert_folder), monkeypatch)
    else:
        given = {word[2:] for word in words if word.startswith("--")}
        options = tiny_options(words, unet_folder, bert_folder)
        for name, value in options.items():
            words += [f"--{name}", value] if name not in given else []
        fire.Fire({"run": monai.bundle.run}, words[3:], "monai.bundle")


def filled(command, names):
    """With the places of its placeholders, which are words in capitals."""
    return re.sub(r"\b([A-Z]{3,})\b", lambda found: names.get(found[1], found[1]), command)


def tiny_options(words, unet_folder, bert_folder):
    """Overrides that make a job small, as far as its configuration knows them."""
    if "bundle/configs/pretrain.json" in words:
        return TINY_UNET | {"max_epochs": "1"}
    network = {
        "backbone": str(unet_folder),
        "text_encoder": str(bert_folder),
        "blocks": "[1, 3]",
        "steps": "[50]",
        "head": TINY_HEAD,
        "resize": "32",
    }
    trains = "bundle/configs/inference.json" not in words and words[0] != "textdiff"
    return network | {"max_tokens": "10"} | ({"max_epochs": "1"} if trains else {})


def _run_verb(words, options, monkeypatch):
    verb = words[0]
    if verb == "fetch":
        for name in fetch.FETCHERS:
            monkeypatch.setitem(fetch.FETCHERS, name, lambda target: target)
    if verb == "compare":
        words = [*words, "--seeds", "1", "--iterations", "2", "--labelled", "2"]
    if verb == "fit":
        words[words.index("--minutes") + 1] = "0.1"
        words += ["--max_epochs", "1", "--read_text", "True"]
    if verb in ("compare", "fit") or "--checkpoint" in words:  # the shipped head comes with the shipped encoders
        given = {word[2:] for word in words if word.startswith("--")}
        for name, value in options.items():
            words += [f"--{name}", value] if name not in given else []
    monkeypatch.setattr(sys, "argv", ["textdiff", *words])
    cli.main()


@pytest.mark.parametrize("code", [block for language, block in BLOCKS if language == "python"])
def test_code_runs(code, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})

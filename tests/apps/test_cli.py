"""The command line: verbs do their job, and nothing is done before the whole line is understood."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from benchmarks.stand_ins import adm_shapes, fill, head_shapes
from textdiff_monai import DiffusionBackbone, TextDiff, TextEncoder, bundle_root, load_datalist, read_recipe
from textdiff_monai.apps.cli import VERBS, main, prepared
from textdiff_monai.apps.options import UsageError


@pytest.fixture
def textdiff(monkeypatch, capsys):
    """Runs the command line in this process: exit code and what was printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["textdiff", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def test_help_names_every_verb_and_does_not_load_pytorch():
    script = "import sys; sys.argv = ['textdiff', '--help']\nfrom textdiff_monai.apps.cli import main\nmain()\n"
    script += "assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [line[0] for line in lines] == list(VERBS)
    assert all(len(line) > 4 for line in lines)


def test_a_short_option_before_a_value_is_not_taken_for_help(textdiff, tmp_path):
    assert "-h, --host" in textdiff("label-server", "-h")[1]
    assert "SYNOPSIS" not in textdiff("label-server", tmp_path / "nowhere", "-h", "0.0.0.0")[1]


@pytest.mark.parametrize("words", [["--help"], ["recipe", "--help"], ["recipe", "MODEL"]])
def test_who_reads_the_output_may_stop(words):
    script = "import sys; sys.stdin.read()\nfrom textdiff_monai.apps.cli import main\nmain()\n"
    words = [word.replace("MODEL", f"{bundle_root()}/models/model.pt") for word in words]
    with subprocess.Popen([sys.executable, "-c", script, *words], stdin=-1, stdout=-1, stderr=-1) as job:
        job.stdout.close()
        job.stdin.close()
        assert job.stderr.read() == b""
    assert job.returncode == 141


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_every_argument(verb, textdiff):
    code, printed = textdiff(verb, "--help")
    assert code == 0
    lines = printed.splitlines()
    kinds = [index for index, line in enumerate(lines) if line.strip().startswith("Type: ")]
    assert kinds
    for index in kinds:
        explained = lines[index + 1 + lines[index + 1].strip().startswith("Default: ")]
        assert explained.startswith(" " * 8), f"{verb} {lines[index - 1]}"


@pytest.mark.parametrize(
    "typed", ["opacity #2", "left,right", "3", "None", "[nodule]", "{a}", "'quoted'", "$5", "1e5", "True", "", "-"]
)
def test_a_sentence_and_a_path_are_what_was_typed(typed):
    taken = []

    def ask(source: str | Path, text: str = "", out: str | None = None) -> None:
        taken.append((str(source), text, str(out)))

    prepared(ask, [typed, "--text", typed, f"--out={typed}"])()
    assert taken == [(typed, typed, typed)]


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("opacity #2", ["opacity #2"]),
        ("left,right #2", ["left,right #2"]),
        ("['a #1', 'b']", ["a #1", "b"]),
        ("'a #1'", ["a #1"]),
        ("left,right", ["left", "right"]),
        ("left lung, hazy", ["left lung, hazy"]),
    ],
)
def test_a_list_of_texts_holds_what_was_typed(typed, taken):
    def ask(texts: Sequence[str]) -> list[str]:
        return list(texts)

    assert prepared(ask, ["--texts", typed])() == taken


def test_paths_that_look_like_numbers_are_paths(textdiff, tmp_path, monkeypatch, data_folder):
    monkeypatch.chdir(tmp_path)
    for name in ("2024_05", "1e5"):
        Path(name).symlink_to(data_folder)
        code, printed = textdiff("check", name)
        assert code == 0
        assert f"images in {name} are in order" in printed


def test_values_are_of_the_types_that_functions_say():
    def job(count: int, rate: float = 0.5, texts: Sequence[str] = (), flag: bool = False) -> tuple:
        return count, rate, flag

    assert prepared(job, ["3", "--rate", "1", "--flag", "true"])() == (3, 1, True)
    assert prepared(job, ["--count=3", "-r", "1e-3", "--flag"])() == (3, 0.001, True)
    for words, message in {
        ("3.5",): r"--count: expected a whole number, got '3\.5'",
        ("3", "--rate", "fast"): r"--rate: expected a number, got 'fast'",
        ("3", "--flag", "no"): r"--flag: expected True or False, got 'no'",
        ("3", "--texts", "['left','right'"): r"--texts: expected a list such as",
        ("3", "--rate"): r"--rate: its value is missing",
        ("3", "--rate", "--flag"): r"--rate: its value is missing",
        (): r"missing a required argument: 'count'",
        ("3", "--texts", "a", "--texts=b"): r"--texts is given twice; give several values as one list",
        ("1", "2", "3", "True", "5"): r"too many positional arguments",
        ("3", "--flga", "True"): r"no option --flga; did you mean --flag\?",
    }.items():
        with pytest.raises(UsageError, match=message):
            prepared(job, words)


def test_an_unknown_verb_is_an_error_that_names_the_nearest(textdiff):
    code, printed = textdiff("chekc", "x")
    assert code == 2
    assert "did you mean check?" in printed


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["phantom", "NEW", "--trian", "3"], "--train"),
        (["demo", "NEW", "--epoch", "3"], "--epochs"),
        (["segment", "DATA", "--out", "NEW", "--chekpoint", "RUN/model.pt"], "--checkpoint"),
        (["segment", "DATA", "--output_dir", "NEW"], "--out"),
        (["segment", "DATA", "--out", "NEW", "--backbone_", "x"], "--backbone"),
        (["compare", "DATA", "NEW", "--iteration", "3"], "--iterations"),
        (["compare", "DATA", "NEW", "--train#trainer#max_epoch", "3"], "--train#trainer#max_epochs"),
    ],
)
def test_a_misspelt_option_is_an_error_that_proposes_the_right_one_before_any_work(
    textdiff, tmp_path, data_folder, words, meant
):
    places = {"NEW": tmp_path / "new", "DATA": data_folder}
    code, printed = textdiff(*(places.get(word, word) for word in words))
    assert code == 2
    assert f"did you mean {meant}?" in printed
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("verb", ["segment", "compare"])
def test_an_option_of_a_configuration_has_its_type(verb, textdiff, tmp_path, data_folder):
    for option, message in {
        ("--read_text", "3"): "--read_text: expected True or False, got '3'",
        ("--resize", "large"): "--resize: expected a whole number or None, got 'large'",
        ("--blocks", "one"): "--blocks: expected a list such as \"[1,2]\", got 'one'",
        ("--device", "cuda:99"): "--device: expected cpu",
    }.items():
        code, printed = textdiff(
            verb, data_folder, "--out" if verb == "segment" else "--folder", tmp_path / "n", *option
        )
        assert code == 2
        assert message in printed
        assert not (tmp_path / "n").exists()


def test_bad_input_is_a_message_not_a_traceback(textdiff, tmp_path):
    code, printed = textdiff("check", tmp_path / "nowhere")
    assert str(code).startswith("error:")
    assert "does not exist" in str(code)
    assert "Traceback" not in printed


def test_a_job_that_is_stopped_ends_without_a_traceback(textdiff, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr("textdiff_monai.apps.cli._function", lambda verb: stop)
    code, printed = textdiff("check")
    assert (code, printed.split()) == (130, ["stopped"])


def test_check_counts_the_images(textdiff, data_folder):
    code, printed = textdiff("check", data_folder)
    assert code == 0
    assert "4 train, 2 val, 4 test" in printed


def test_recipe_prints_what_a_checkpoint_was_trained_with(textdiff):
    checkpoint = f"{bundle_root()}/models/model.pt"
    code, printed = textdiff("recipe", checkpoint)
    assert code == 0
    told, known = json.loads(printed), read_recipe(checkpoint)
    assert told.keys() == known.keys()
    assert {name for name in known if told[name] != known[name]} == {"centres", "pictures"}
    assert told["pictures"] == f"{len(json.dumps(known['pictures']))} characters"


def test_phantom_writes_a_data_set_and_says_where(textdiff, tmp_path):
    code, printed = textdiff("phantom", tmp_path / "data", "--train", 2, "--val", 1, "--test", 1, "--size", 64)
    assert code == 0
    assert f"ready: {tmp_path / 'data'}" in printed
    assert len(load_datalist(tmp_path / "data")) == 4


def test_the_text_encoder_and_samples_are_made(textdiff, tmp_path, unet_folder, bert_folder):
    code, _ = textdiff("pretrain-text", tmp_path / "bert", "--start", tmp_path / "nowhere")
    assert "nowhere: expected a folder with a BERT" in str(code)
    assert textdiff("pretrain-text", tmp_path / "bert", "--start", bert_folder, "--steps", 1)[0] == 0
    assert json.loads((tmp_path / "bert" / "config.json").read_text())["model_type"] == "bert"
    for taken in (tmp_path / "bert", bert_folder):  # what is through, and what it would begin with
        code, _ = textdiff("pretrain-text", taken, "--start", bert_folder, "--steps", 1)
        assert "holds no training that was stopped; choose a new folder" in str(code)
    assert textdiff("samples", unet_folder, tmp_path / "s.png", "--count", 1, "--steps", 1)[0] == 0
    assert (tmp_path / "s.png").stat().st_size > 100


def test_samples_say_what_is_wrong_before_they_are_drawn_and_make_their_folder(textdiff, tmp_path, unet_folder):
    for words, message in {
        (unet_folder, tmp_path / "s"): "expected the name of a picture, such as s.png",
        (unet_folder, tmp_path / "s.png", "--count", 10): "count 10: expected a square number, such as 9",
        (unet_folder, tmp_path / "s.png", "--count", 0): "count 0: expected a square number, such as 1",
        (unet_folder, tmp_path / "s.png", "--steps", 0): "steps 0: expected 1 or more",
        (tmp_path / "nowhere", tmp_path / "s.png"): "nowhere: is not a folder",
    }.items():
        assert message in str(textdiff("samples", *words)[0])
    assert textdiff("samples", unet_folder, tmp_path / "new" / "s.jpg", "--count", 1, "--steps", 1)[0] == 0
    assert (tmp_path / "new" / "s.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_published_checkpoints_are_imported(textdiff, tmp_path, bert_folder_768):
    options = {"image_size": 64, "num_channels": 32, "channel_mult": "1,2"}
    torch.save(fill(adm_shapes(options)), tmp_path / "adm.pt")
    assert textdiff("import-adm", tmp_path / "adm.pt", tmp_path / "unet", "--head_channels", 16)[0] == 0
    backbone = DiffusionBackbone(tmp_path / "unet", blocks=[1, 4])
    torch.save({"model_state_dict": fill(head_shapes([192, 96], scales=2))}, tmp_path / "head.pth")
    paths = [tmp_path / "head.pth", tmp_path / "new" / "model.pt"]
    code, _ = textdiff("import-adm", tmp_path / "nowhere.pt", tmp_path / "unet")
    assert "unet exists; remove it" in str(code)  # before the checkpoint is read
    options = ["--backbone", tmp_path / "unet", "--text_encoder", bert_folder_768, "--blocks", "1,4"]
    code, printed = textdiff("import-head", *paths, *options)
    assert code == 0, printed
    network = TextDiff(backbone, TextEncoder(bert_folder_768, max_length=10, mask_padding=False))
    network.load_state_dict(torch.load(paths[1], weights_only=True))
    known = read_recipe(paths[1])
    assert (known["channels"], known["resize"], known["blocks"], known["norm"]) == ("BGR", 256, [1, 4], "batch")

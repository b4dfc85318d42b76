"""Options of configurations: only those that exist, of the type that they have there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from textdiff_monai import bundle_root, check_options
from textdiff_monai.apps.options import UsageError
from textdiff_monai.apps.overrides import overrides

CONFIGS = Path(bundle_root()) / "configs"
TRAIN, INFERENCE = str(CONFIGS / "train.json"), str(CONFIGS / "inference.json")


def verb(source, out="segmented", **options):
    """One with two options of its own."""


def read(**options):
    return overrides(options, [TRAIN], verb, ("training",))


def test_texts_become_what_the_configuration_holds():
    typed = {"resize": "64", "tile": "None", "read_text": "false", "learning_rate": "1e-4", "amp": "True"}
    typed |= {"blocks": "1,3", "symmetries": "[identity]", "head": "{'channels': 16}", "cache_gib": "1"}
    typed |= {"train#dataloader#num_workers": "2", "norm": "batch", "augment": "published"}
    assert read(**typed) == {
        "resize": 64,
        "tile": None,
        "read_text": False,
        "learning_rate": 1e-4,
        "amp": True,
        "blocks": (1, 3),
        "symmetries": ["identity"],
        "head": {"channels": 16},
        "cache_gib": 1,
        "train#dataloader#num_workers": 2,
        "norm": "batch",
        "augment": "published",
    }


def test_texts_stay_texts_and_are_never_evaluated():
    for path in ("2024_05", "1e5", "None", "[a]", "a,b", "a #2"):
        assert read(backbone=path) == {"backbone": path}
    assert ConfigParser(read(backbone="$1 + 1")).get_parsed_content("backbone") == "./$1 + 1"
    assert ConfigParser({"a": 3, **read(backbone="@a")}).get_parsed_content("backbone") == "./@a"


def test_values_of_python_callers_are_checked_as_well():
    assert read(resize=64, blocks=[1], loss={"_target_": "DiceLoss"}) == {
        "resize": 64,
        "blocks": [1],
        "loss": {"_target_": "DiceLoss"},
    }
    with pytest.raises(UsageError, match=r"--read_text: expected True or False, got 1"):
        read(read_text=1)
    with pytest.raises(UsageError, match=r"--max_epochs: expected a whole number, got 0\.5"):
        read(max_epochs=0.5)


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.json")), ids=lambda file: file.stem)
def test_options_that_begin_with_null_have_a_type(file):
    for name, value in ConfigParser.load_config_file(file).items():
        if value is None:
            with pytest.raises(UsageError, match=rf"--{name}: expected"):
                overrides({name: object()}, [TRAIN, INFERENCE, str(file)], verb, (name,))


def test_what_is_not_there_is_an_error_that_proposes_what_is():
    for name, meant in {
        "resise": "--resize",
        "sorce": "--source",
        "train#trainer#max_epoch": "--train#trainer#max_epochs",
        "train#trainer#accumulation_step": "--train#trainer#accumulation_steps",
        "train#dataste": "--train#dataset",
    }.items():
        with pytest.raises(UsageError, match=rf"no option --{name}; did you mean {meant}\?"):
            read(**{name: "3"})


def test_components_and_tables_take_what_is_not_written_there():
    assert overrides({"evaluator#compile": "True"}, [INFERENCE], verb, ("evaluator",)) == {"evaluator#compile": True}
    assert read(**{"head#hidden_channels": "[8]"}) == {"head#hidden_channels": [8]}
    assert read(**{"train#trainer#accumulation_steps": "2"}) == {"train#trainer#accumulation_steps": 2}


def test_what_a_verb_does_not_need_is_no_option():
    with pytest.raises(UsageError, match=r"no option --output_dir; did you mean --out\?"):
        overrides({"output_dir": "x"}, [INFERENCE], verb, ("network", "checkpoint"))
    assert overrides({"output_dir": "x"}, [INFERENCE], verb, ("evaluator",)) == {"output_dir": "x"}


@pytest.fixture
def started(monkeypatch, capsys):
    """``check_options`` in a process that ``python -m monai.bundle`` started: exit code and message."""

    def run(*words, program="/anywhere/monai/bundle/__main__.py"):
        monkeypatch.setattr(sys, "argv", [program, *words])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which it exchanges
        try:
            check_options()
        except SystemExit as exit_:
            return exit_.code, capsys.readouterr().err
        return 0, ""

    return run


GOOD = ["--dataset_dir", "DATA", "--resize", "$None", "--read_text", "False", "--text", "left lung, upper zone"]
GOOD += ["--amp", "True", "--device", "$torch.device('cpu')", "--evaluator#compile", "True", "--blocks", "[1,3]"]


def test_what_the_configurations_have_is_accepted(started):
    assert started("run", "--config_file", INFERENCE, *GOOD) == (0, "")
    quoted = ["--text", "'opacity #2'", "--output_dir", '"2024_05"']
    assert started("run", "--config_file", INFERENCE, *quoted) == (0, "")
    several = f"['{TRAIN}','{CONFIGS / 'evaluate.json'}']"
    assert started("run", "--config_file", several, "--captions", "none", "--split", "val") == (0, "")
    assert started("run", "training", "--config_file", TRAIN, "--resume", "--max_epochs", "3") == (0, "")
    tracked = ["--tracking", "mlflow", "--experiment_name", "trial", "--run_id", "training"]
    assert started("run", "--config_file", TRAIN, *tracked) == (0, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--chekpoint", "RUN/model.pt"], "no option --chekpoint; did you mean --checkpoint?"),
        (["--captions", "none"], "no option --captions"),
        (["--evaluator#compil", "True"], "no option --evaluator#compil; did you mean --evaluator#compile?"),
        (["--read_text", "false"], "--read_text: expected True or False, got 'false'"),
        (["--amp", "no"], "--amp: expected True or False, got 'no'"),
        (["--evaluator#amp", "no"], "--evaluator#amp: expected True or False, got 'no'"),
        (["--resize", "'128'"], "--resize: expected a whole number or None"),
        (["--resize", "None"], "--resize: MONAI ignores None; write --resize '$None'"),
        (["--dataset_dir", "2024_05"], "--dataset_dir: expected text, got '2024_05'; write text as"),
        (["--text", "3"], "--text: expected text, got '3'"),
        (["--text", "None"], "--text: expected text, got 'None'"),
        (["--text", "left,right"], "--text: expected text, got 'left,right'"),
        (["--text", "opacity #2"], "--text: Python reads 'opacity #2' as 'opacity'"),
        (["--text"], "--text: expected text"),
        (["--device", "nonsense"], "--device: expected cpu"),
        (["--evaluator#device", "cpux"], "--evaluator#device: expected cpu"),
        (["--experiment_name", "trial"], "no option --experiment_name"),
    ],
)
def test_what_they_do_not_have_ends_the_process_with_a_line(words, message, started):
    code, printed = started("run", "--config_file", INFERENCE, *words)
    assert code == 2
    assert message in printed
    assert printed.count("\n") == 1


def test_options_in_a_file_of_arguments_are_compared_as_well(started, tmp_path):
    arguments = {"config_file": INFERENCE, "chekpoint": "x"}
    (tmp_path / "arguments.json").write_text(json.dumps(arguments))
    code, printed = started("run", "--args_file", str(tmp_path / "arguments.json"))
    assert code == 2
    assert "no option --chekpoint" in printed


def test_other_programs_are_left_alone(started):
    assert started("--nonsense", "3", program="/usr/bin/pytest") == (0, "")
    assert started("ckpt_export", "network_def", "--filepath", "x") == (0, "")


def test_what_others_raise_is_shown_whole(started, capsys):
    started("run", "--config_file", INFERENCE)
    try:
        try:
            [].index(0)
        except ValueError as error:
            raise RuntimeError("Failed to evaluate") from error
    except RuntimeError as wrapped:
        sys.excepthook(RuntimeError, wrapped, wrapped.__traceback__)
    assert capsys.readouterr().err.startswith("Traceback")


def test_a_folder_that_cannot_be_written_is_told_in_a_line(started, tmp_path, capsys):
    started("run", "--config_file", INFERENCE)
    (tmp_path / "file").write_text("")
    try:
        try:
            (tmp_path / "file" / "new").mkdir()
        except OSError as error:
            raise RuntimeError("Failed to instantiate") from error
    except RuntimeError as wrapped:
        sys.excepthook(RuntimeError, wrapped, wrapped.__traceback__)
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert str(tmp_path / "file" / "new") in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("config", ["train", "inference", "pretrain", "multi_gpu_train"])
def test_every_configuration_checks_first(config):
    assert json.loads((CONFIGS / f"{config}.json").read_text())["initialize"][0] == "$textdiff_monai.check_options()"


def test_a_bundle_run_ends_before_any_work(tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", INFERENCE, "--output_dir", "new"]
    done = subprocess.run([*command, "--txt", "x"], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: there is no option --txt; did you mean --text?"
    assert not (tmp_path / "new").exists()


def test_data_that_are_not_in_order_end_a_bundle_run_with_a_line(tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", TRAIN, "--output_dir", "new"]
    done = subprocess.run(
        [*command, "--dataset_dir", "nowhere"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "error: 1 problem in nowhere:",
        "- nowhere: does not exist; give a table, or a folder with one",
    ]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()

"""The command line: verbs do their job, and nothing is done before the whole line is understood."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from published import adm_shapes, fill, head_shapes

from textdiff_monai import DiffusionBackbone, TextDiff, TextEncoder, load_datalist
from textdiff_monai.apps.cli import COMMANDS, main


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
    script = "import sys; sys.argv = ['textdiff', '--help']\nfrom textdiff_monai.apps.cli import main\ntry: main()\n"
    script += "except SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for verb in COMMANDS:
        assert verb in done.stdout + done.stderr


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_explains_its_arguments(verb, textdiff):
    code, printed = textdiff(verb, "--help")
    assert code == 0
    assert "ARGUMENTS" in printed or "FLAGS" in printed


def test_unknown_verbs_and_options_are_errors_before_any_work(textdiff, tmp_path):
    assert textdiff("chekc", "x")[0] == 2
    code, printed = textdiff("phantom", tmp_path / "new", "--trian", "3")
    assert code == 2
    assert "--trian" in printed
    assert not (tmp_path / "new").exists()


def test_bad_input_is_a_message_not_a_traceback(textdiff, tmp_path):
    code, printed = textdiff("check", tmp_path / "nowhere")
    assert str(code).startswith("error:")
    assert "does not exist" in str(code)
    assert "Traceback" not in printed


def test_check_counts_the_images(textdiff, data_folder):
    code, printed = textdiff("check", data_folder)
    assert code == 0
    assert "4 train, 2 val, 4 test" in printed


def test_phantom_writes_a_data_set(textdiff, tmp_path):
    assert textdiff("phantom", tmp_path / "data", "--train", 2, "--val", 1, "--test", 1, "--size", 64)[0] == 0
    assert len(load_datalist(tmp_path / "data")) == 4


def test_published_checkpoints_are_imported(textdiff, tmp_path, bert_folder_768):
    options = {"image_size": 64, "num_channels": 32, "channel_mult": "1,2"}
    torch.save(fill(adm_shapes(options)), tmp_path / "adm.pt")
    assert textdiff("import-adm", tmp_path / "adm.pt", tmp_path / "unet", "--head_channels", 16)[0] == 0
    backbone = DiffusionBackbone(tmp_path / "unet", blocks=[1, 4])
    torch.save({"model_state_dict": fill(head_shapes([192, 96], scales=2))}, tmp_path / "head.pth")
    paths = [tmp_path / "head.pth", tmp_path / "model.pt"]
    options = ["--backbone", tmp_path / "unet", "--text_encoder", bert_folder_768, "--blocks", "1,4"]
    code, printed = textdiff("import-head", *paths, *options)
    assert code == 0, printed
    network = TextDiff(backbone, TextEncoder(bert_folder_768, max_length=10, mask_padding=False))
    network.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))

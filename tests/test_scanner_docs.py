"""Every command in bundle/docs/scanner.md runs, in its order, on tiny data and encoders."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import fire
import monai.bundle
import nibabel as nib
import numpy as np
import pytest

for library in ("highdicom", "openslide", "tifffile", "contourpy"):
    pytest.importorskip(library)
from made_dicom import save_dicom, save_series  # noqa: E402
from made_slides import save_slide, tissue  # noqa: E402
from test_readme import filled, tiny_options  # noqa: E402

from textdiff_monai.apps import cli  # noqa: E402
from textdiff_monai.data.slides import slide as slides  # noqa: E402

PAGE = Path(__file__).parents[1] / "bundle" / "docs" / "scanner.md"
BLOCKS = re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL)
COMMANDS = [line.strip() for block in BLOCKS for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the page's placeholders lie; what one command writes the next ones find."""
    folder = tmp_path_factory.mktemp("scanner")
    (folder / "bundle").symlink_to(PAGE.parents[1])
    values = np.random.default_rng(0).integers(0, 400, (4, 48, 40)).astype(np.int16)
    save_series(folder / "all" / "ct", values)
    save_dicom(folder / "all" / "xray.dcm", values[0])
    affine = np.diag([-0.5, -0.5, 3, 1])
    nib.save(nib.Nifti1Image(values.T, affine), folder / "all" / "volume.nii.gz")
    data = folder / "data"
    for kind in ("images", "masks"):
        (data / kind).mkdir(parents=True)
    rows = ["image,mask,text,split,value"]
    for number, split in enumerate(("train", "train", "val", "test")):
        nib.save(nib.Nifti1Image(values.T + number, affine), data / "images" / f"{number}.nii.gz")
        nib.save(nib.Nifti1Image((values.T // 134).astype(np.uint8), affine), data / "masks" / f"{number}.nii.gz")
        rows += [
            f"{number}.nii.gz,{number}.nii.gz,left lung,{split},1",
            f"{number}.nii.gz,{number}.nii.gz,high,{split},2",
        ]
    (data / "text.csv").write_text("\n".join(rows))
    save_slide(folder / "slide.tif", tissue(600, 620))
    ring = {"type": "Polygon", "coordinates": [[[60, 40], [200, 40], [200, 200], [60, 40]]]}
    region = {"type": "Feature", "geometry": ring, "properties": {"name": "left lung"}}
    (folder / "regions.geojson").write_text(json.dumps([region]))
    names = {name: str(folder / name) for name in re.findall(r"--(?:out|output_dir) ([A-Z]+)", PAGE.read_text())}
    names |= {"XRAY": str(folder / "all" / "xray.dcm"), "VOLUME": str(folder / "all" / "volume.nii.gz")}
    names |= {"SERIES": str(folder / "all" / "ct"), "FOLDER": str(folder / "all"), "DATA": str(data)}
    return folder, names | {"SLIDE": str(folder / "slide.tif"), "REGIONS": str(folder / "regions.geojson")}


def test_there_are_commands_of_every_kind():
    assert len(COMMANDS) >= 13
    assert all(command.startswith(("textdiff ", "python -m monai.bundle run ")) for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command, place, tiny_head, unet_folder, bert_folder, monkeypatch):
    folder, names = place
    monkeypatch.chdir(folder)
    monkeypatch.setattr(slides, "_LARGE", 512**2)
    words = shlex.split(filled(command, names))
    given = {word[2:] for word in words if word.startswith("--")}
    if words[0] == "textdiff":
        options = tiny_head if words[1] == "segment" else {"text_encoder": str(bert_folder)}
        words += [word for name, value in options.items() for word in (f"--{name}", value)]
        monkeypatch.setattr(sys, "argv", words)
        cli.main()
    else:
        for name, value in tiny_options(words, unet_folder, bert_folder).items():
            words += [f"--{name}", value] if name not in given else []
        fire.Fire({"run": monai.bundle.run}, words[3:], "monai.bundle")
    for name in re.findall(r"--(?:out|output_dir) ([A-Z]+)", command):
        assert any(Path(names[name]).iterdir())

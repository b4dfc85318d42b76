"""The notebook runs from its first cell to its last, on tiny data and encoders, and is kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOK = Path(__file__).parents[1] / "bundle" / "docs" / "own_folder.ipynb"


def test_it_has_ten_cells_and_no_outputs():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert len(cells) == 10
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_it_imports_public_names_alone():
    assert "textdiff_monai." not in NOTEBOOK.read_text()


@pytest.mark.slow
def test_it_runs_from_the_folder_to_the_report(data_folder, unet_folder, bert_folder, tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    head = {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": [8, 8]}
    options = {"backbone": str(unet_folder), "text_encoder": str(bert_folder), "blocks": [1, 3], "head": head}
    options |= {"steps": [50], "resize": 32, "max_epochs": 1, "heads": 1, "read_text": True}
    (settings,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    for name, value in {"DATA": str(data_folder), "MINUTES": 0.2, "OPTIONS": options}.items():
        settings.source += f"\n{name} = {value!r}"
    settings.source += "\nDATA = Path(DATA)"
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    run = tmp_path / "fitted"
    printed = "".join(output.get("text", "") for output in notebook.cells[6].outputs)
    assert str(json.loads((run / "test" / "metrics.json").read_text())["mean_dice"]) in printed
    assert "image/png" in notebook.cells[8].outputs[-1].data
    assert "fitted/report.html" in notebook.cells[9].outputs[-1].data["text/html"]

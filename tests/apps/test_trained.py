"""A trained head in Python gives the masks that ``textdiff segment`` writes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from textdiff_monai import load_trained
from textdiff_monai.apps.segment import segment

TEXT = "nuclei in the upper left"


def test_a_loaded_head_marks_what_segment_marks(tiny_head, data_folder, tmp_path):
    path = next((data_folder / "images").iterdir())
    network, inferer, reading = load_trained(**tiny_head)
    image = reading({"image": str(path)})["image"]
    with torch.no_grad():
        mask = inferer(image[None], network, TEXT).argmax(1)[0]
    (written,) = segment(path, TEXT, tmp_path / "out", **tiny_head)
    marked = np.asarray(Image.open(written)) > 0
    assert marked.any()
    np.testing.assert_array_equal(mask.numpy() > 0, marked)


def test_what_does_not_fit_is_refused(tiny_head):
    with pytest.raises(ValueError, match="no option --devise; did you mean --device"):
        load_trained(**tiny_head, devise="cpu")
    with pytest.raises(ValueError, match="trained with read_text True, given False"):
        load_trained(**tiny_head, read_text=False)
    with pytest.raises(FileNotFoundError, match="does not exist; give the model"):
        load_trained(**tiny_head | {"checkpoint": "nowhere.pt"})

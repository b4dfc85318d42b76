"""Options and tiny encoders shared by the tests."""

from __future__ import annotations

import os
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image
from transformers import BertConfig, BertModel

from textdiff_monai import DiffusionBackbone, Recipe, TextDiff, TextEncoder, bundle_root
from textdiff_monai.pretraining.vocabulary import characters, tokenizer_of


def pytest_addoption(parser):
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=Path(__file__).parent / "golden",
        help="folder of *.npz/*.json pairs that the published implementation computed",
    )


def pytest_configure():
    torch.set_num_threads(1)  # threads cost more than they save on tiny tensors


def pytest_generate_tests(metafunc):
    if "golden" in metafunc.fixturenames:
        pairs = sorted(metafunc.config.getoption("--golden-dir").glob("*.json"))
        metafunc.parametrize("golden", pairs, ids=[path.stem for path in pairs])


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Nothing is read from, or left in, the user's cache of features."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def unet_folder(tmp_path_factory):
    """A diffusion UNet with random weights: blocks 0 to 3, sizes that are multiples of 2."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("unet")
    UNet2DModel(
        sample_size=32,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=4,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    """A BERT with random weights, 16 channels wide, and a vocabulary of a few clinical words."""
    return _write_bert(tmp_path_factory.mktemp("bert"), 16)


@pytest.fixture(scope="session")
def bert_folder_768(tmp_path_factory):
    """The same, as wide as the published text encoder."""
    return _write_bert(tmp_path_factory.mktemp("bert768"), 768)


def _write_bert(folder, width):
    torch.manual_seed(0)
    words = ["left", "right", "upper", "middle", "lower", "lung", "nuclei", "infection", "the", "in", "is", "high"]
    tokenizer = tokenizer_of([*characters(), *words], 24)
    tokenizer.save_pretrained(folder)
    options = {"hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=24, **options)).save_pretrained(folder)
    return folder


@pytest.fixture
def network(unet_folder, bert_folder):
    """TextDiff with tiny random encoders."""
    torch.manual_seed(0)
    backbone = DiffusionBackbone(unet_folder, blocks=(1, 3), steps=(50, 250))
    head = {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": (8, 8)}
    return TextDiff(backbone, TextEncoder(bert_folder), head=head).eval()


@pytest.fixture
def tiny_head(unet_folder, bert_folder, tmp_path):
    """Options of inference: a network with random weights, large enough that its masks are mixed."""
    torch.manual_seed(3)
    pixels = {"channels": "RGB", "intensity_range": None, "resize": 32, "scales": None, "tile": None, "read_text": True}
    recipe = Recipe(num_classes=2, class_names=["background", "target"], **pixels)
    head = {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": [8, 8]}
    head["norm"] = ("instance", {"affine": True})
    backbone = DiffusionBackbone(unet_folder, (1, 3), (50,))
    network = TextDiff(backbone, TextEncoder(bert_folder), 2, head, recipe=recipe)
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    return {
        "checkpoint": str(tmp_path / "model.pt"),
        "backbone": str(unet_folder),
        "text_encoder": str(bert_folder),
    }


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """Ten 32 x 40 pictures in the CSV layout: bright discs, of which the caption names one side's as the target."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = ["image,mask,text,split"]
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for i, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 4):
        side = ("left", "right")[i % 2]
        image, mask = rng.integers(0, 90, (32, 40, 3)).astype(np.uint8), np.zeros((32, 40), np.uint8)
        image[8:20, 4:16] += 120
        image[8:20, 24:36] += 120
        mask[8:20, 4:16] = 255 * (side == "left")
        mask[8:20, 24:36] = 255 * (side == "right")
        Image.fromarray(image).save(folder / "images" / f"{i}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{i}.png")
        rows.append(f"{i}.png,{i}.png,The nuclei density in the {side} is high.,{split}")
    (folder / "text.csv").write_text("\n".join(rows) + "\n")
    return folder


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
        configs = [f"{bundle_root()}/configs/{name}" for name in names]
        monai.bundle.run(run_id, config_file=configs, **overrides)

    return run


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images; its tests are skipped where there is none."""
    folder = os.environ.get("TEXTDIFF_DATA")
    if not folder:
        pytest.skip("TEXTDIFF_DATA names no folder of real images")
    return Path(folder)

"""What MONAI's model zoo checks of a bundle before it takes it, in the zoo's order, on a bundle that is written out."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import monai.bundle
import pytest
import torch
from monai.bundle import ConfigParser

from textdiff_monai import TextDiff
from textdiff_monai.apps.bundle import write_bundle

ROOT = Path(__file__).parents[1]
NAME = "textdiff"
NEEDED = ["LICENSE", "configs/metadata.json", "configs/inference.json", "models/model.pt"]
NEEDED += ["docs/README.md", "docs/data_license.txt"]
# A process of its own in which PyTorch is all there is of what made the file.
ALONE = """
import sys
for name in ("monai", "textdiff_monai", "diffusers", "transformers"):
    sys.modules[name] = None
import torch
inputs = torch.load("inputs.pt")
torch.save(torch.jit.load(sys.argv[1])(*inputs), "outputs.pt")
"""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The zoo's repository, as far as its checks look at it."""
    folder = tmp_path_factory.mktemp("zoo")
    write_bundle(folder / "models" / NAME)
    (folder / "models" / "model_info.json").write_text("{}")
    return folder


@pytest.fixture
def bundle(zoo, monkeypatch):
    """The bundle by the relative path that the checks give, from the zoo's folder."""
    monkeypatch.chdir(zoo)
    return Path("models") / NAME


def test_every_file_is_there_and_small_enough_for_the_zoo(bundle):
    for name in NEEDED:
        assert (bundle / name).is_file(), name
    assert [path for path in bundle.rglob("*") if path.is_file() and path.stat().st_size > 25e6] == []
    assert (bundle / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert (bundle / "docs" / "data_license.txt").read_text() == (ROOT / "NOTICE").read_text()


def test_the_version_is_new_and_in_the_changelog(bundle):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert f"{NAME}_v{metadata['version']}" not in json.loads(Path("models/model_info.json").read_text())


@pytest.mark.realdata
def test_the_metadata_follows_the_schema(bundle, real_data):
    (bundle / "eval").mkdir(exist_ok=True)
    shutil.copy(real_data / "reference" / "meta_schema_20240725.json", bundle / "eval" / "schema.json")
    monai.bundle.verify_metadata(
        meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(bundle / "eval" / "schema.json")
    )


@pytest.mark.parametrize(("config", "kind"), [("inference.json", "inference"), ("train.json", "training")])
def test_every_property_is_there(bundle, config, kind):
    workflow = monai.bundle.create_workflow(
        workflow_type=kind,
        bundle_root=str(bundle),
        config_file=str(bundle / "configs" / config),
        logging_file=str(bundle / "configs" / "logging.conf"),
        meta_file=str(bundle / "configs" / "metadata.json"),
    )
    assert workflow.check_properties() == []
    assert isinstance(workflow.network_def, TextDiff)


def test_a_forward_pass_has_the_shapes_of_the_metadata(bundle):
    monai.bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
    )


def network_of(bundle):
    config = ConfigParser()
    config.read_config(bundle / "configs" / "inference.json")
    config.update({"cache_gib": 0})
    network = config.get_parsed_content("network_def").cpu().eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    return network


def read_alone(file, folder, *inputs):
    """What an exported file computes where there is PyTorch alone."""
    torch.save(inputs, folder / "inputs.pt")
    subprocess.run([sys.executable, "-I", "-c", ALONE, file], cwd=folder, check=True)
    return torch.load(folder / "outputs.pt")


def images(count):
    return torch.rand(count, 3, 128, 128, generator=torch.Generator().manual_seed(count)) * 2 - 1


@pytest.fixture(scope="module")
def blocks(zoo):
    text = (zoo / "models" / NAME / "docs" / "README.md").read_text()
    return dict(re.findall(r"```(sh|python)\n(.*?)```", text.split("## Export")[1], re.DOTALL))


@pytest.mark.slow
@torch.no_grad()
def test_the_export_gives_the_same_logits_with_pytorch_alone(bundle, blocks, monkeypatch):
    network = network_of(bundle)
    monkeypatch.chdir(bundle)
    subprocess.run([sys.executable, *shlex.split(blocks["sh"])[1:]], check=True)
    for count in (1, 3):
        exported = read_alone("model.ts", Path(), images(count))
        torch.testing.assert_close(exported, network(images(count)), rtol=1e-4, atol=1e-4)
    with pytest.raises(subprocess.CalledProcessError):
        read_alone("model.ts", Path(), images(1)[..., :96])


@pytest.mark.slow
@torch.no_grad()
def test_a_trace_with_embeddings_leaves_the_sentence_open(bundle, blocks, monkeypatch):
    network = network_of(bundle)
    monkeypatch.chdir(bundle)
    exec(compile(blocks["python"], "README.md", "exec"), {})
    for sentences in (["Segment the right lung."], ["right", "Both lungs of this film, the left and the right."]):
        image = images(len(sentences))
        exported = read_alone("model_with_text.ts", Path(), image, *network.text_encoder(sentences))
        expected = network(image, sentences)
        torch.testing.assert_close(exported, expected, rtol=1e-4, atol=1e-4)
        assert (expected - network(image)).abs().max() > 0.1

"""The wheel: built as users build it, installed where nothing else of this repository is, and put to work there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from textdiff_monai import __version__

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The files of the repository that are tracked or new, as a fresh clone has them."""
    folder = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    """By ``python -m build``, by way of the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """An empty environment with the wheel, which borrows the packages that it requires from this one."""
    return installed(tmp_path_factory.mktemp("environment"), wheel)


def installed(folder, *what):
    call(sys.executable, "-m", "venv", "--without-pip", folder)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--force-reinstall"]
    call(folder / "bin" / "python", "-m", "pip", "install", *options, *what)
    return folder


def call(*command, cwd=None):
    """Runs a command without the repository on Python's path; what it printed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables |= {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=variables, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture
def textdiff(environment, tmp_path):
    """Runs a verb of the installed command in an empty folder."""
    return lambda *words: call(environment / "bin" / "textdiff", *words, cwd=tmp_path)


@pytest.fixture
def python(environment, tmp_path):
    return lambda *words, cwd=tmp_path: call(environment / "bin" / "python", *words, cwd=cwd)


@pytest.fixture(autouse=True)
def _package_stays_as_it_is(request):
    """Whatever a test runs, nothing is written into the installed package."""
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(request.getfixturevalue("environment"))}))

    def files():
        found = (path for path in packages.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {path: path.stat().st_mtime_ns for path in found}

    before = files()
    yield
    assert files() == before


def test_the_wheel_holds_the_code_and_the_bundle_and_nothing_else(wheel, source):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"textdiff_monai", f"textdiff_monai-{__version__}.dist-info"}
    for folder, inside in (("textdiff_monai", "textdiff_monai"), ("bundle", "textdiff_monai/bundle")):
        for path in filter(Path.is_file, (source / folder).rglob("*")):
            assert f"{inside}/{path.relative_to(source / folder)}" in names, path
    assert wheel.stat().st_size < 80e6


def test_the_package_knows_its_bundle(python, environment):
    root = Path(python("-c", "import textdiff_monai; print(textdiff_monai.bundle_root())").strip())
    assert root.is_relative_to(environment)
    assert (root / "configs" / "inference.json").is_file()


def test_an_editable_clone_uses_its_own_bundle(source, tmp_path):
    folder = installed(tmp_path / "editable", "--editable", source)
    place = tmp_path / "elsewhere"
    place.mkdir()
    script = "import textdiff_monai, textdiff_monai.networks.textdiff; print(textdiff_monai.bundle_root())"
    assert Path(call(folder / "bin" / "python", "-c", script, cwd=place).strip()) == source / "bundle"
    assert "segment" in call(folder / "bin" / "textdiff", "--help", cwd=place)


def test_the_demo_and_segmenting_with_its_head(textdiff, tmp_path):
    assert "segment" in textdiff("--help")
    textdiff("demo", "shown", "--epochs", "5")
    assert (tmp_path / "shown" / "summary.json").is_file()
    image, question = ROOT / "bundle" / "data" / "lungs" / "images" / "1663b242.jpg", "Segment the left lung."
    textdiff("segment", image, "--text", question, "--checkpoint", "shown/model.pt", "--out", "with_its_head")
    textdiff("segment", image, "--text", question, "--out", "with_the_shipped_head")
    for out in ("with_its_head", "with_the_shipped_head"):
        assert list((tmp_path / out).glob("*_mask.png"))


def test_runs_of_the_packages_own_configurations_write_into_the_working_directory(python, tmp_path):
    root = python("-c", "import textdiff_monai; print(textdiff_monai.bundle_root())").strip()
    run = ("-m", "monai.bundle", "run", "--config_file")
    python(*run, f"{root}/configs/train.json", "--max_epochs", "1", "--cache_dir", tmp_path / "cache")
    python(*run, f"['{root}/configs/train.json','{root}/configs/evaluate.json']", "--cache_dir", tmp_path / "cache")
    python(*run, f"{root}/configs/inference.json", "--cache_dir", tmp_path / "cache")
    assert (tmp_path / "models" / "model.pt").is_file()
    assert (tmp_path / "output" / "test" / "metrics.json").is_file()
    assert list((tmp_path / "output").glob("*_mask.png"))


def test_a_bundle_that_is_written_out_is_ones_own(textdiff, python, tmp_path):
    assert "ready" in textdiff("bundle", "mine", "--zip", "True")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    files = {path.relative_to(tmp_path / "mine") for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    assert Path("LICENSE") in files
    options = ("--cache_dir", tmp_path / "cache")
    run = ("-m", "monai.bundle", "run", "--config_file")
    python(*run, tmp_path / "mine/configs/train.json", "--max_epochs", "1", *options, cwd=elsewhere)
    python(*run, tmp_path / "mine/configs/inference.json", *options, cwd=elsewhere)
    assert not list(elsewhere.iterdir())
    assert list((tmp_path / "mine" / "output").glob("*_mask.png"))

    zipfile.ZipFile(tmp_path / f"mine_v{__version__}.zip").extractall(elsewhere)
    unpacked = elsewhere / "mine"
    assert {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()} == files
    trained = (tmp_path / "mine" / "models" / "model.pt").read_bytes()
    assert (unpacked / "models" / "model.pt").read_bytes() != trained
    python(*run, "configs/inference.json", *options, cwd=unpacked)
    assert list((unpacked / "output").glob("*_mask.png"))
    # MONAI loads a bundle without going to its folder.
    script = f"import monai.bundle; print(monai.bundle.load('mine', bundle_dir={str(elsewhere)!r}, source='github'))"
    assert "SegmentationHead" in python("-c", script)

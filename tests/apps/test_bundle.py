"""Where the bundle lies and where its runs write; what is written out is whole, or not there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from textdiff_monai import __version__, bundle_root, work_folder
from textdiff_monai.apps.bundle import write_bundle


def root_of(config):
    return json.loads(config.read_text())["bundle_root"]


def test_the_bundle_of_the_package_is_found_from_anywhere_and_never_written_into(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = Path(bundle_root())
    assert (root / "configs" / "inference.json").is_file()
    assert work_folder(root) == str(tmp_path)
    (tmp_path / "link").symlink_to(root)
    assert work_folder("link") == str(tmp_path)


def test_a_bundle_of_ones_own_is_preferred_where_it_is_one_and_written_into(tmp_path):
    assert bundle_root(tmp_path) == bundle_root()
    mine = write_bundle(tmp_path / "mine")
    assert bundle_root(mine) == str(mine) == work_folder(mine)


def test_a_bundle_is_written_whole_and_knows_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = write_bundle("mine", zip=True)
    for name in ("train.json", "inference.json", "pretrain.json"):
        assert root_of(mine / "configs" / name) == str(tmp_path / "mine")
    root = Path(bundle_root())
    for part in ("LICENSE", "configs/metadata.json", "docs/README.md", "models/model.pt", "data/lungs/text.csv"):
        assert (mine / part).read_bytes() == (root / part).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", f"mine_v{__version__}.zip"]


def test_links_between_the_pages_of_a_bundle_lead_to_what_it_has(tmp_path):
    mine = write_bundle(tmp_path / "mine")
    pages = {page: re.findall(r"\]\(([^)#]+)", page.read_text()) for page in mine.rglob("*.md")}
    links = [(page.parent / link).resolve() for page, found in pages.items() for link in found if "://" not in link]
    assert len(links) > 20
    assert [link for link in links if not (link.exists() and link.is_relative_to(mine))] == []


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="mine exists"):
        write_bundle(tmp_path / "mine")
    archive = tmp_path / f"other_v{__version__}.zip"
    archive.touch()
    with pytest.raises(FileExistsError, match=r"other_v.*zip exists"):
        write_bundle(tmp_path / "other", zip=True)
    assert not (tmp_path / "other").exists()

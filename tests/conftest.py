"""Options and tiny encoders shared by the tests."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=Path(__file__).parent / "golden",
        help="folder of *.npz/*.json pairs that the published implementation computed",
    )


def pytest_generate_tests(metafunc):
    if "golden" in metafunc.fixturenames:
        pairs = sorted(metafunc.config.getoption("--golden-dir").glob("*.json"))
        metafunc.parametrize("golden", pairs, ids=[path.stem for path in pairs])

"""Small tensors take the ways that are meant for large ones."""

from __future__ import annotations

import pytest

from textdiff_monai.fast import convolution, head


@pytest.fixture
def small_is_large(monkeypatch):
    """What is shortened from 128 channels and 64 x 64 pixels on is so from 4 and 16."""
    monkeypatch.setattr(convolution, "_CHANNELS", 4)
    monkeypatch.setattr(convolution, "_PIXELS", 16)
    monkeypatch.setattr(convolution, "_AT_ONCE", 2000)
    monkeypatch.setattr(head, "_WIDE", 0)

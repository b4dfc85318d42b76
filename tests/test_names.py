"""The public names."""

from __future__ import annotations

import textdiff_monai


def test_an_interactive_session_completes_the_public_names():
    assert {"TextDiff", "load_datalist", "SYMMETRIES"} <= set(dir(textdiff_monai))
    assert all(hasattr(textdiff_monai, name) for name in dir(textdiff_monai))

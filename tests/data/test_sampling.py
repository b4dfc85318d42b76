"""How often items are drawn."""

from __future__ import annotations

from collections import Counter

import pytest

from textdiff_monai import even_sampler


def test_kinds_are_drawn_evenly_but_those_of_few_images_less():
    items = [{"source": 0, "kind": kind} for kind, n in (("large", 200), ("enough", 60), ("few", 15)) for _ in range(n)]
    drawn = Counter(items[index]["kind"] for index in even_sampler(items, 20000, 0))
    assert drawn["large"] / drawn["enough"] == pytest.approx(1, abs=0.05)
    assert drawn["few"] / drawn["enough"] == pytest.approx(0.5, abs=0.05)


def test_sources_without_kinds_are_drawn_evenly():
    items = [{"source": source, "kind": ""} for source, n in ((0, 90), (1, 10)) for _ in range(n)]
    drawn = Counter(items[index]["source"] for index in even_sampler(items, 10000, 0))
    assert drawn[0] / drawn[1] == pytest.approx(1, abs=0.1)


def test_any_column_tells_kinds_and_one_that_nobody_has_is_named():
    items = [{"target": target, "image": "a.png"} for target in "aaaaaaaaab"]
    drawn = Counter(items[index]["target"] for index in even_sampler(items, 10000, 0, by="target"))
    assert drawn["a"] / drawn["b"] == pytest.approx(3, abs=0.2)
    with pytest.raises(ValueError, match="evenly by organ: the table has no such column"):
        even_sampler(items, 10, 0, by="organ")

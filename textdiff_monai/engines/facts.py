"""What a checkpoint keeps of the data that it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from textdiff_monai.engines.familiarity import pictures_facts
from textdiff_monai.language.lexicon import captions_facts
from textdiff_monai.language.nearness import captions_nearness


def training_facts(
    items: Sequence[Mapping[str, Any]],
    network: nn.Module,
    resize: int,
    read_text: bool = True,
    read: Callable[[Any], Any] | None = None,
) -> dict[str, Any]:
    """Facts for a :class:`~textdiff_monai.Recipe`, by which later sentences and pictures can be doubted.

    Args:
        items: of training, with ``image``, ``label`` and ``text``.
        network: that is trained; its ``text_encoder`` embeds the captions.
        resize: side of the square on which pictures are compared.
        read_text: the network reads captions; else their words and targets alone are kept.
        read: makes ``image`` (3, H, W) and ``label`` of an item; None keeps nothing of the pictures.

    Returns:
        Those of :func:`~textdiff_monai.language.lexicon.captions_facts`,
        :func:`~textdiff_monai.language.nearness.captions_nearness` and
        :func:`~textdiff_monai.engines.familiarity.pictures_facts`.
    """
    facts: dict[str, Any] = {**captions_facts(items)}
    if read_text:
        facts |= captions_nearness(items, network.text_encoder)  # type: ignore[arg-type]
        facts |= pictures_facts(items, read, network, resize) if read else {}
    return facts

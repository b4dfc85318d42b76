"""How far sentences are from a training's captions: other words for the same are near, other things are far."""

from __future__ import annotations

import numpy as np
import pytest

from textdiff_monai import TextEncoder, bundle_root
from textdiff_monai.language import kept_back
from textdiff_monai.language.nearness import captions_nearness, distance
from textdiff_monai.language.paraphrases import paraphrases
from textdiff_monai.language.reader import read

CAPTIONS = {
    "lungs": ["Segment the left lung.", "Segment the right lung.", "Segment both lungs."],
    "heart": [
        "The left atrium in a cardiac magnetic resonance slice.",
        "The aorta in a cardiac magnetic resonance slice.",
    ],
    "chest": ["Unilateral pulmonary infection, one infected area, upper left lung."],
}


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder(f"{bundle_root()}/models/text_encoder")


def reworded(text):
    rng = np.random.default_rng(0)
    told = [kept_back.reword(kind, read(text), text, rng) for kind in kept_back.every_kind() if kind != "absent"]
    return [each[0] for each in told if each]


@pytest.mark.parametrize("kind", CAPTIONS)
def test_kept_back_wordings_are_near_and_other_sentences_are_far(kind, encoder):
    facts = captions_nearness([{"text": text} for text in CAPTIONS[kind]], encoder)
    near = [distance(text, facts, encoder) for caption in CAPTIONS[kind] for text in (caption, *reworded(caption))]
    others = [text for name, told in CAPTIONS.items() if name != kind for text in told]
    others += [text for pair in paraphrases()[:10] for text in pair]
    far = [distance(text, facts, encoder) for text in others]
    assert np.mean(np.array(near) <= facts["radius"]) > 0.85
    assert np.mean(np.array(far) > facts["radius"]) > 0.85


def test_free_captions_are_near_themselves_and_repeat(encoder):
    items = [
        {"text": f"A {size} dark lump with {edge} borders."} for size in ("small", "wide") for edge in ("sharp", "")
    ]
    facts = captions_nearness(items, encoder)
    assert facts == captions_nearness(items, encoder)
    assert max(distance(item["text"], facts, encoder) for item in items) < 0.2
    assert captions_nearness([{"text": ""}], encoder) == {}

"""Token embeddings of whatever callers hand over as the sentences of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from textdiff_monai.networks.interfaces import SentenceEncoder


def tokens_of(
    encoder: SentenceEncoder, text: str | Sequence[str] | Tensor | None, batch: int, mask: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Embeddings (B, L, D), and a mask (B, L), True where a token may be seen; None: all of them.

    Args:
        encoder: reads sentences.
        text: one sentence for all images, a list of B sentences, or embeddings; None is an empty sentence.
        batch: how many images there are.
        mask: only with embeddings.

    Raises:
        ValueError: for texts that do not match the images in number.
    """
    if isinstance(text, Tensor):
        expected = (batch, text.shape[1] if text.ndim == 3 else "L", encoder.out_channels)
        if tuple(text.shape) != expected:
            raise ValueError(f"expected token embeddings of shape {expected}, got {tuple(text.shape)}")
        return text, None if mask is None else mask.bool()
    if text is None or isinstance(text, str):
        embeddings, mask = encoder([text or ""])
        return embeddings.expand(batch, -1, -1), mask.expand(batch, -1)
    sentences = list(text)
    if len(sentences) != batch:
        raise ValueError(f"{len(sentences)} texts for {batch} images: give one for each, one string for all, or none")
    return encoder(sentences)

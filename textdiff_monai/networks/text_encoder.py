"""The frozen text encoder: token embeddings of clinical sentences, each distinct one computed once."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from textdiff_monai.networks.frozen import Frozen, check_source, content_hash

# Fast tokenizers are not safe to call from several threads at once.
_TOKENIZER_LOCK = Lock()
_REMEMBERED = 4096


class TextEncoder(Frozen):
    """Last hidden states of a frozen Hugging Face encoder.

    Args:
        source: a local folder, or a hub name, with an encoder and its tokenizer
            (``emilyalsentzer/Bio_ClinicalBERT`` in the paper).
        max_length: tokens a sentence may have, special tokens included; None is the encoder's own limit.
        mask_padding: False repeats the published code: every sentence is padded to ``max_length`` (10 there) and the
            padding is handed on as if it were words.
    """

    def __init__(self, source: str | Path, max_length: int | None = None, mask_padding: bool = True) -> None:
        super().__init__()
        check_source(source)
        self.tokenizer = AutoTokenizer.from_pretrained(source)
        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()  # transformers reports what we check ourselves
        logging.disable_progress_bar()  # of a moment
        try:
            model, loading = AutoModel.from_pretrained(source, output_loading_info=True, torch_dtype=torch.float32)
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
        # The pooler is never used and often not stored; anything else missing would be random weights.
        missing = sorted(name for name in loading["missing_keys"] if "pooler" not in name)
        if missing:
            raise ValueError(f"{source}: incomplete encoder, {len(missing)} tensors are missing, such as {missing[0]}")
        self.model = model.get_encoder() if model.config.is_encoder_decoder else model
        limit = min(self.tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512))
        if max_length is not None and not 2 < max_length <= limit:
            raise ValueError(f"max_length {max_length}: {source} takes 3 to {limit} tokens")
        if max_length is None and not mask_padding:
            raise ValueError("mask_padding=False pads every sentence to max_length: give max_length as well")
        self.max_length, self.mask_padding = max_length or limit, mask_padding
        self._embeddings: dict[bytes, Tensor] = {}
        weights = {name: tensor for name, tensor in self.model.state_dict().items() if "pooler" not in name}
        vocabulary = json.dumps(self.tokenizer.get_vocab(), sort_keys=True).encode()
        self.freeze(
            {
                "weights": content_hash(weights),
                "vocabulary": hashlib.sha256(vocabulary).hexdigest(),
                "max_length": self.max_length,
                "mask_padding": mask_padding,
            }
        )
        self._embedding("")  # known from the start, so that a trace without text does not hold the encoder

    @property
    def out_channels(self) -> int:
        """Channels of a token's embedding."""
        return self.model.config.hidden_size

    def forward(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token embeddings of sentences.

        Args:
            sentences: B strings; an empty one is its special tokens alone.

        Returns:
            embeddings (B, L, D) and a bool mask (B, L), True where the attention may look.
        """
        embeddings = {sentence: self._embedding(sentence) for sentence in dict.fromkeys(sentences)}
        device = next(self.model.parameters()).device
        found = [embeddings[sentence].to(device) for sentence in sentences]
        mask = [torch.ones(len(embedding), dtype=torch.bool, device=device) for embedding in found]
        return pad_sequence(found, batch_first=True), pad_sequence(mask, batch_first=True)

    def words(self, sentence: str) -> list[tuple[str, list[int]]]:
        """The words of a sentence that are read, as blanks part them, each with its tokens' places in the embedding.

        Marks such as [CLS] and padding belong to no word; words that are cut off are left out.
        """
        with _TOKENIZER_LOCK:
            found = self.tokenizer(
                sentence, truncation=True, max_length=self.max_length, return_offsets_mapping=True, verbose=False
            )
        spans = [(word[0], *word.span()) for word in re.finditer(r"\S+", sentence)]
        places = list(enumerate(found["offset_mapping"]))
        words = [(word, [at for at, (a, b) in places if a < end and b > start]) for word, start, end in spans]
        return [(word, tokens) for word, tokens in words if tokens]

    @torch.no_grad()
    def _encode(self, sentence: str) -> Tensor:
        """One sentence alone (L, D), so that its embedding never depends on its neighbours in a batch."""
        with _TOKENIZER_LOCK:
            whole = self.tokenizer(sentence, verbose=False)["input_ids"]
            tokens = self.tokenizer(
                sentence,
                truncation=True,
                max_length=self.max_length,
                padding=False if self.mask_padding else "max_length",
                return_tensors="pt",
            )
        if len(whole) > self.max_length and self.mask_padding:  # the same words each time, so that it is said once
            warnings.warn(f"texts longer than {self.max_length} tokens are truncated", stacklevel=2)
        device = next(self.model.parameters()).device
        tokens = tokens.to(device)
        with torch.autocast(device.type, enabled=False):  # remembered, and then read in every precision
            output = self.model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        return output.last_hidden_state[0].float().cpu()

    def _embedding(self, sentence: str) -> Tensor:
        """Computed once, while among the last sentences that are remembered, by their hashes: they may be reports."""
        key = hashlib.sha256(sentence.encode()).digest()
        embedding = self._embeddings.get(key)
        if embedding is None:
            embedding = self._encode(sentence)
            while len(self._embeddings) >= _REMEMBERED:
                self._embeddings.pop(next(iter(self._embeddings)), None)
            self._embeddings[key] = embedding
        return embedding

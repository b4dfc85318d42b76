"""What is measured: a network of a given size, its stand-in weights, and both ways to compute with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from monai.losses import DiceCELoss
from torch import Tensor
from transformers import BertConfig, BertModel

from benchmarks import published
from benchmarks.stand_ins import adm_shapes, fill, head_shapes
from textdiff_monai.apps.weights import adm_to_diffusers, load_published_head
from textdiff_monai.engines.features import FeatureCache
from textdiff_monai.language.grammar import sentences
from textdiff_monai.networks.backbone import DiffusionBackbone
from textdiff_monai.networks.text_encoder import TextEncoder
from textdiff_monai.networks.textdiff import TextDiff
from textdiff_monai.pretraining.vocabulary import characters, tokenizer_of


@dataclass(frozen=True)
class Setting:
    """A published network's size.

    Attributes:
        image_size: that the UNet was made for, and the side of the square images, in pixels.
        num_channels, num_head_channels, channel_mult: of the UNet, as guided-diffusion names them.
        blocks, steps: whose activations are the features.
        bert: options of the text encoder; a BERT-base by default.
        sizes: for the growth of inference with the image's side.
        repeats: timings of each, of which the median counts.
    """

    image_size: int = 256
    num_channels: int = 256
    num_head_channels: int = 64
    channel_mult: str = ""
    blocks: tuple[int, ...] = (4, 6, 8, 12)
    steps: tuple[int, ...] = (50, 150, 250)
    bert: Mapping[str, Any] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    repeats: int = 3


SETTINGS = {
    # The paper's encoders; qata_cov19.json has its blocks.
    "adm-256": Setting(sizes=(128, 256)),
    # A minute, to see that it runs; fewer and smaller layers, on which less can be saved.
    "small": Setting(64, 64, channel_mult="1,2,2,8", blocks=(1, 4, 8), bert={"num_hidden_layers": 2}, sizes=(32, 64)),
}


def write_weights(setting: Setting, folder: Path) -> None:
    """Stand-ins for the published weights: ``adm.pt``, ``head.pt``, and diffusers' and transformers' folders."""
    options = asdict(setting)
    adm = fill(adm_shapes(options))
    torch.save(adm, folder / "adm.pt")
    config, state = adm_to_diffusers(adm, setting.num_head_channels)
    unet = UNet2DModel(**config)
    unet.load_state_dict(state)
    unet.save_pretrained(folder / "unet")
    widths = DiffusionBackbone(folder / "unet", setting.blocks, setting.steps).out_channels
    torch.save(fill(head_shapes(widths, len(widths))), folder / "head.pt")
    words = sorted(set(" ".join(islice(sentences(seed=0), 2000)).lower().split()) - set(characters()))
    tokenizer = tokenizer_of([*characters(), *words], 512)
    tokenizer.save_pretrained(folder / "text")
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer), **setting.bert)).save_pretrained(folder / "text")


class Work:
    """Inference and training steps on the same weights, images, captions and labels, published and ours."""

    def __init__(self, setting: Setting, folder: Path, device: torch.device) -> None:
        self.setting, self.folder, self.device = setting, folder, device
        self.options = asdict(setting)
        self.adm, self.head = (
            {name: tensor.to(device) for name, tensor in torch.load(folder / f"{part}.pt").items()}
            for part in ("adm", "head")
        )
        self.backbone = DiffusionBackbone(folder / "unet", setting.blocks, setting.steps)
        self.encoder = TextEncoder(folder / "text")
        self.network = TextDiff(self.backbone, self.encoder).to(device).eval()
        load_published_head(self.network.head, folder / "head.pt")
        # As long as QaTa-COV19's captions.
        self._sentences = (sentence for sentence in sentences(seed=1) if 12 <= len(sentence.split()) <= 16)
        self.text = self.new_text()

    def new_text(self) -> str:
        """A sentence that was never encoded before."""
        return next(self._sentences)

    def image(self, size: int | None = None) -> Tensor:
        """A new image, which no cache knows."""
        side = size or self.setting.image_size
        return torch.rand(1, 3, side, side, device=self.device) * 2 - 1

    @torch.no_grad()
    def infer(self, image: Tensor, text: str | None = None) -> Tensor:
        """Our logits; with a new sentence, as new images have."""
        return self.network.eval()(image, text or self.new_text())

    @torch.no_grad()
    def infer_published(self, image: Tensor, text: str | None = None) -> Tensor:
        """The published code's logits of the same."""
        embeddings = self.published_text(text or self.new_text())
        return published.head(self.head, self.published_features(image), embeddings, image.shape[-2:])

    @torch.no_grad()
    def published_text(self, text: str) -> Tensor:
        return published.embeddings(self.encoder.model, self.encoder.tokenizer, text)

    @torch.no_grad()
    def published_features(self, image: Tensor) -> list[Tensor]:
        noise = self.backbone.noise(*image.shape[-2:]).to(image)
        return published.features(self.adm, image, noise, self.options)

    def trainer(self, cache: FeatureCache) -> Callable[[Tensor], float]:
        """Our training step of the head on images, whose features a cache keeps, with train.json's optimizer."""
        loss = DiceCELoss(to_onehot_y=True, softmax=False, squared_pred=True, batch=True, lambda_dice=1.5)
        optimizer = torch.optim.Adam(self.network.head.parameters(), lr=1e-4, fused=True)
        label = self._label()[:, None]

        def step(image: Tensor) -> float:
            self.backbone.cache = cache
            try:
                return _step(lambda: loss(self.network.train()(image, self.text), label), optimizer)
            finally:
                self.backbone.cache = None

        return step

    def published_trainer(self) -> Callable[[Sequence[Tensor], Tensor], float]:
        """The published training step of the head on features and text."""
        state = {name: tensor.clone() for name, tensor in self.head.items()}
        trained = [tensor.requires_grad_() for name, tensor in state.items() if name.endswith(("weight", "bias"))]
        optimizer, label, size = torch.optim.Adam(trained, lr=1e-4), self._label(), (self.setting.image_size,) * 2

        def step(features: Sequence[Tensor], text: Tensor) -> float:
            return _step(
                lambda: published.loss(published.head(state, features, text, size, training=True), label), optimizer
            )

        return step

    def _label(self) -> Tensor:
        return (torch.rand(1, *(self.setting.image_size,) * 2, device=self.device) > 0.5).long()


def _step(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    value = loss()
    value.backward()
    optimizer.step()
    return value.item()

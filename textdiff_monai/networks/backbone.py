"""The frozen diffusion UNet: activations of its decoder blocks at a few time steps (TextDiff, section 2.1)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor

from textdiff_monai.fast.activations import decoder_activations
from textdiff_monai.networks.frozen import Frozen, content_hash

# Options that change what the weights compute and cannot be told from the weights' shapes.
_NUMERIC_OPTIONS = (
    "act_fn",
    "attention_head_dim",
    "attn_norm_num_groups",
    "center_input_sample",
    "downsample_padding",
    "flip_sin_to_cos",
    "freq_shift",
    "mid_block_scale_factor",
    "norm_eps",
    "norm_num_groups",
    "resnet_time_scale_shift",
)


class Cache(Protocol):
    """What keeps features of images (B, C, H, W): those it knows are read, the others computed; maps (B, C_i, ...)."""

    def __call__(
        self, images: Tensor, identity: Mapping[str, Any], compute: Callable[[Tensor], Sequence[Tensor]]
    ) -> list[Tensor]: ...


class DiffusionBackbone(Frozen):
    """Activations of a frozen diffusers ``UNet2DModel`` as image features.

    Args:
        source: a diffusers folder, or a hub name, of a ``UNet2DModel``; the noise schedule is read from the
            ``scheduler_config.json`` beside it (without one: linear, 1000 steps, as ADM was trained).
        blocks: decoder units, numbered from 0 at the coarsest as in the paper: residual (and attention) unit ``b % 3``
            of ``up_blocks[b // 3]`` where a level has three; the last unit of a level counts after its upsampling.
        steps: diffusion time steps whose activations are concatenated on channels.
        noise_seed: seed of the one noise tensor shared by all images and steps (the paper's is 40); None adds none.
        subfolder: of ``source``, where the UNet lies in one (``unet`` in a saved pipeline).
        cache: keeps the features of every image, such as :class:`~textdiff_monai.FeatureCache`; None computes them each
            time.
    """

    alphas_cumprod: Tensor

    def __init__(
        self,
        source: str | Path,
        blocks: Sequence[int] = (4, 6, 8, 12),
        steps: Sequence[int] = (50, 150, 250),
        noise_seed: int | None = 40,
        subfolder: str | None = None,
        cache: Cache | None = None,
    ) -> None:
        super().__init__()
        self.cache = cache
        self.unet = UNet2DModel.from_pretrained(
            source, subfolder=subfolder, torch_dtype=torch.float32, low_cpu_mem_usage=False
        )
        self.blocks, self.steps, self.noise_seed = tuple(blocks), tuple(steps), noise_seed
        self.in_channels: int = self.unet.config["in_channels"]
        schedule = _noise_schedule(source, None if subfolder is None else "scheduler")
        self._check(source, len(schedule))
        self.register_buffer("alphas_cumprod", schedule, persistent=False)
        self._noise: dict[tuple[int, int], Tensor] = {}
        self.freeze(
            {
                "weights": content_hash(self.unet.state_dict()),
                "options": {name: self.unet.config.get(name) for name in _NUMERIC_OPTIONS},
                "schedule": content_hash({"alphas_cumprod": schedule}),
                "blocks": list(self.blocks),
                "steps": list(self.steps),
                "noise_seed": noise_seed,
            }
        )

    @property
    def out_channels(self) -> list[int]:
        """Channels of each feature map: those of its block times the number of steps."""
        units = [resnet.out_channels for block in self.unet.up_blocks for resnet in block.resnets]
        return [units[block] * len(self.steps) for block in self.blocks]

    @property
    def divisor(self) -> int:
        """Image height and width must be multiples of this."""
        return 2 ** sum(bool(block.downsamplers) for block in self.unet.down_blocks)

    def noise(self, height: int, width: int) -> Tensor:
        """The shared noise (1, C, height, width), drawn on the CPU so that every device gets the same; or zeros."""
        noise = self._noise.get((height, width))
        if noise is None:
            shape = (1, self.in_channels, int(height), int(width))
            if self.noise_seed is None:
                drawn = torch.zeros(shape)
            else:
                drawn = torch.randn(shape, generator=torch.Generator().manual_seed(self.noise_seed))
            noise = torch.from_numpy(drawn.numpy())  # a constant, in a trace too
            self._noise = {(height, width): noise}
        return noise

    @torch.no_grad()
    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps of images.

        Args:
            image: (B, C, H, W) in [-1, 1]; H and W multiples of :attr:`divisor`.

        Returns:
            One map (B, block channels x steps, h, w) per block, in the order of ``blocks``; channels lie innermost.

        Raises:
            ValueError: for another number of channels, or a size the UNet cannot halve; it names sizes that work.
        """
        self._check_image(image)
        if self.cache is None or torch.jit.is_tracing() or torch.compiler.is_compiling():
            return self._compute(image)
        return self.cache(image, self.identity, self._compute)

    def _compute(self, image: Tensor) -> list[Tensor]:
        """All time steps as one batch, or one after the other where a GPU's memory is short."""
        with contextlib.suppress(torch.OutOfMemoryError):
            return self._at(image, self.steps)
        per_step = [self._at(image, (step,)) for step in self.steps]
        return [torch.cat(maps, dim=1) for maps in zip(*per_step, strict=True)]

    def _at(self, image: Tensor, steps: Sequence[int]) -> list[Tensor]:
        """The chosen blocks' activations at some time steps, on channels (B, steps x C, h, w)."""
        signal = self.alphas_cumprod[list(steps)][:, None, None, None, None]
        noise = self.noise(*image.shape[-2:]).to(image)
        noisy = signal.sqrt().to(image) * image + (1 - signal).sqrt().to(image) * noise  # (steps, B, C, H, W)
        times = torch.tensor(steps, device=image.device).repeat_interleave(image.shape[0])
        maps = decoder_activations(self.unet, noisy.flatten(0, 1), times, self.blocks)
        together = (scale.unflatten(0, noisy.shape[:2]).transpose(0, 1).flatten(1, 2) for scale in maps)
        return [scale.contiguous(memory_format=torch.channels_last) for scale in together]

    def _check(self, source: Any, train_steps: int) -> None:
        units = sum(len(block.resnets) for block in self.unet.up_blocks)
        if any(hasattr(block, "skip_conv") for block in [*self.unet.down_blocks, *self.unet.up_blocks]):
            raise ValueError(f"{source}: UNets with skip-connected images ('Skip' blocks) are not supported")
        if self.unet.class_embedding is not None:
            raise ValueError(f"{source}: class-conditional UNets are not supported; take an unconditional one")
        if not self.blocks or not all(0 <= block < units for block in self.blocks):
            raise ValueError(f"blocks {self.blocks}: {source} has decoder blocks 0 to {units - 1}")
        if not self.steps or not all(0 <= step < train_steps for step in self.steps):
            raise ValueError(f"steps {self.steps}: the noise schedule of {source} has steps 0 to {train_steps - 1}")

    def _check_image(self, image: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ValueError(f"expected an image (B, {self.in_channels}, H, W), got {tuple(image.shape)}")
        if any(side % self.divisor for side in image.shape[-2:]):
            near = [_multiples_near(side, self.divisor) for side in image.shape[-2:]]
            raise ValueError(
                f"image of {image.shape[-2]} x {image.shape[-1]} pixels: this UNet needs multiples of {self.divisor}; "
                f"resize or pad to a height of {near[0]} and a width of {near[1]}"
            )


def _multiples_near(side: int, divisor: int) -> str:
    below, above = side // divisor * divisor, -(-side // divisor) * divisor
    return " or ".join(str(value) for value in sorted({below, above} - {0}))


def _noise_schedule(source: str | Path, subfolder: str | None) -> Tensor:
    """Cumulative products of (1 - beta), in double precision (T,)."""
    try:
        scheduler = DDPMScheduler.from_pretrained(source, subfolder=subfolder)
    except OSError:  # no scheduler_config.json beside the weights
        scheduler = DDPMScheduler()
    return torch.cumprod(1 - scheduler.betas.double(), dim=0)

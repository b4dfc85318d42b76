"""The frozen diffusion UNet: activations of its decoder blocks at a few time steps (TextDiff, section 2.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from textdiff_monai.networks.frozen import Frozen, check_source, content_hash

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
        check_source(source)
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
        """Activations of every step, concatenated on channels."""
        noise = self.noise(*image.shape[-2:]).to(image)
        per_step = []
        for step in self.steps:
            kept = self.alphas_cumprod[step]
            noisy = kept.sqrt().to(image) * image + (1 - kept).sqrt().to(image) * noise
            per_step.append(decoder_activations(self.unet, noisy, step, self.blocks))
        maps = [torch.cat(scale, dim=1) for scale in zip(*per_step, strict=True)]
        return [scale.contiguous(memory_format=torch.channels_last) for scale in maps]

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


def decoder_activations(unet: UNet2DModel, noisy: Tensor, step: int, blocks: Sequence[int]) -> list[Tensor]:
    """Outputs of decoder units at a time step; what comes after the last of them is never computed.

    Args:
        unet: of plain and attention blocks, without class embedding.
        noisy: (B, C, H, W), in the range that the UNet was trained on.
        step: the diffusion time step.
        blocks: numbers of the units, as :class:`DiffusionBackbone` has them.

    Returns:
        One map (B, C_b, h_b, w_b) for each of ``blocks``.
    """
    time = unet.time_embedding(unet.time_proj(torch.tensor([step], device=noisy.device)).to(unet.dtype))
    hidden = unet.conv_in(2 * noisy - 1 if unet.config["center_input_sample"] else noisy)
    skips = [hidden]
    for level in unet.down_blocks:
        hidden, outputs = level(hidden, time)
        skips += outputs
    if unet.mid_block is not None:
        hidden = unet.mid_block(hidden, time)
    found = {}
    for block, unit in enumerate(_decoder_units(unet)[: max(blocks) + 1]):
        hidden = torch.cat([hidden, skips.pop()], dim=1)
        for module in unit:
            hidden = module(hidden, time) if isinstance(module, ResnetBlock2D) else module(hidden)
        if block in blocks:
            found[block] = hidden
    return [found[block] for block in blocks]


def _decoder_units(unet: UNet2DModel) -> list[list[nn.Module]]:
    """Modules that are applied in turn, for each unit: a residual block, maybe attention, maybe upsampling."""
    units = []
    for level in unet.up_blocks:
        units += [[resnet] for resnet in level.resnets]
        for unit, attention in zip(
            units[-len(level.resnets) :], getattr(level, "attentions", None) or (), strict=False
        ):
            unit.append(attention)
        units[-1] += level.upsamplers or ()
    return units


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

"""What a checkpoint knows of how it was trained, so that it never runs under another recipe without a word."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textdiff_monai.data.files import written_file

_KEY = "recipe._extra_state"
_SIZE = 16384
# Options of frozen encoders, as their identities name them and as configurations do.
_OPTIONS = {
    **{name: name for name in ("blocks", "steps", "noise_seed", "mask_padding")},
    "max_length": "max_tokens",
}


class Recipe(nn.Module):
    """How pixels and words reach a network, and what else a user of its weights has to know.

    It is the submodule ``recipe`` of a network and has no weights. Its extra state, a JSON text as uint8, lies among
    the weights in the network's state dict, so that PyTorch, Ignite and MONAI save and load it unasked, with
    ``weights_only=True`` too. Loading a checkpoint that says otherwise is an error.

    Args:
        checkpoint: a file that the options must agree with from the start; None: whichever is loaded.
        override: options that differ are a warning, and those given here count.
        options: anything that JSON can hold.

    Attributes:
        options: what was given, here and to :meth:`describe`.
        facts: what is known besides, such as figures; loading a checkpoint brings those that it has.

    Raises:
        ValueError: for options that the checkpoint was not trained with, naming both values; for a size below 1, or
            fewer than two classes.
    """

    def __init__(self, checkpoint: str | Path | None = None, override: bool = False, **options: Any) -> None:
        super().__init__()
        self.checkpoint, self.override = checkpoint, override
        self.trained = None if checkpoint is None else read_recipe(checkpoint)
        self.options: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}
        self.describe(**options)

    def describe(self, **options: Any) -> None:
        """More options, of what is built after the recipe."""
        options = json.loads(json.dumps(options))
        for name, least in {"resize": 1, "tile": 1, "num_classes": 2}.items():
            if options.get(name) is not None and options[name] < least:
                raise ValueError(f"{name} {options[name]}: expected {least} or more")
        if self.trained is not None:
            self._compare(options, self.trained)
        self.options |= options

    def get_extra_state(self) -> Tensor:
        return _encode(self.facts | self.options)

    def set_extra_state(self, state: Tensor) -> None:
        trained = _decode(state)
        if trained != self.trained:
            self._compare(self.options, trained)
        self.facts = {name: value for name, value in trained.items() if name not in self.options}

    def _compare(self, here: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
        both = sorted(here.keys() & trained.keys())
        lines = [line for name in both for line in differences(name, trained[name], here[name])]
        if not lines:
            return
        differs = f"{self.checkpoint or 'the checkpoint'} has another recipe: {'; '.join(lines)}"
        if not self.override:
            raise ValueError(
                f"{differs}. Leave out options that the checkpoint already knows, give the encoders it was trained "
                "with, or override with --override_recipe True"
            )
        warnings.warn(differs, stacklevel=3)


def encoders_options(**encoders: Any) -> dict[str, Any]:
    """What recipes say of frozen encoders: their options as configurations name them, and ``encoders``, all else.

    Args:
        encoders: by name, image backbones and sentence encoders.
    """
    known = {name: dict(encoder.identity) for name, encoder in encoders.items()}
    options = {_OPTIONS[own]: one.pop(own) for one in known.values() for own in _OPTIONS.keys() & one.keys()}
    return options | {"encoders": known}


def read_recipe(checkpoint: str | Path) -> dict[str, Any]:
    """Options and facts that a checkpoint was saved with; one that it does not have is an error that says so.

    Raises:
        FileNotFoundError: for a file that does not exist.
        ValueError: for one that is no checkpoint with a recipe.
    """
    if not Path(checkpoint).is_file():
        what = "is a folder" if Path(checkpoint).is_dir() else "does not exist"
        raise FileNotFoundError(f"{checkpoint} {what}; give the model.pt of a training")
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # of zip, pickle and PyTorch, which tell pages
        raise ValueError(f"{checkpoint}: not a readable PyTorch checkpoint; give the model.pt of a training") from error
    if not isinstance(state, Mapping) or not isinstance(state.get(_KEY), Tensor):
        fix = "give the model.pt of a training; textdiff import-head converts a head that the published code trained"
        raise ValueError(f"{checkpoint}: the checkpoint has no recipe; {fix}")
    return _Known(checkpoint, _decode(state[_KEY]))


def add_facts(checkpoint: str | Path, **facts: Any) -> None:
    """More facts for a checkpoint that is there already; it is written whole.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_recipe` does.
    """
    entries = {**read_recipe(checkpoint), **facts}
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state[_KEY] = _encode(entries)
    with written_file(checkpoint) as partial:
        torch.save(state, partial)


def with_recipe(network: nn.Module, recipe: Recipe) -> nn.Module:
    """The network, with a recipe in its checkpoints."""
    network.add_module("recipe", recipe)
    return network


class _Known(dict[str, Any]):
    def __init__(self, checkpoint: str | Path, entries: dict[str, Any]) -> None:
        super().__init__(entries)
        self.checkpoint = checkpoint

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"{self.checkpoint} does not record the {name} it was trained with; give --{name}")


def _encode(entries: Mapping[str, Any]) -> Tensor:
    """Padded to whole 16 KiB: loaders that drop tensors of another shape must not drop another recipe."""
    text = json.dumps(entries, sort_keys=True).encode()
    return torch.frombuffer(bytearray(text.ljust(-(-len(text) // _SIZE) * _SIZE)), dtype=torch.uint8)


def _decode(state: Tensor) -> dict[str, Any]:
    return json.loads(state.cpu().numpy().tobytes())


def differences(name: str, trained: Any, here: Any) -> Iterator[str]:
    """What of an option, part by part, is another in a checkpoint than here."""
    if isinstance(trained, Mapping) and isinstance(here, Mapping):
        for part in sorted(trained.keys() | here.keys()):
            yield from differences(f"{name}.{part}", trained.get(part, "unknown"), here.get(part, "unknown"))
    elif trained != here:
        yield f"trained with {name} {_shown(trained)}, given {_shown(here)}"


def _shown(value: Any) -> str:
    """Hashes by their first digits."""
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)

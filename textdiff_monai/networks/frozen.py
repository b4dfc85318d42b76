"""Freezing, in one place: pretrained modules that training never changes and checkpoints do not hold."""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor, nn


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors, the same for float16 and float32 files of the same values, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def check_source(source: str | Path) -> None:
    """Of what can only be a path, not a name on the Hugging Face hub, whether it is there; before the hub is asked.

    Raises:
        FileNotFoundError: if not.
    """
    is_path = isinstance(source, Path) or source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source
    if is_path and not Path(source).is_dir():
        raise FileNotFoundError(
            f"{source}: is not a folder; give the encoder's folder, or its name on the Hugging Face hub"
        )


class Frozen(nn.Module):
    """A pretrained module without gradients, always in eval mode, absent from checkpoints.

    Its state dict is empty; its ``identity`` says which weights and options compute the features, and goes into the
    network's :class:`~textdiff_monai.Recipe`. A deep copy holds the same tensors, not second ones: servers copy the
    network once for every device. Moving or casting the copy leaves the original where it is. Subclasses call
    :meth:`freeze` once their modules are in place.
    """

    identity: dict[str, Any]

    def freeze(self, identity: dict[str, Any]) -> None:
        self.identity = identity
        self.requires_grad_(False)
        self.train()
        self.register_load_state_dict_post_hook(_forget_missing)

    def train(self, mode: bool = True) -> Frozen:
        """Stay in eval mode, whatever is asked, so that dropout is off and norm statistics stay as pretrained."""
        super().train(False)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen:
        for tensor in chain(self.parameters(), self.buffers()):
            # A handle of its own on the same storage: Module.to() changes handles.
            own = tensor.detach()
            memo[id(tensor)] = nn.Parameter(own, requires_grad=False) if isinstance(tensor, nn.Parameter) else own
        memo[id(self)] = twin = type(self).__new__(type(self))
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        return OrderedDict() if destination is None else destination

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing: Any,
        unexpected: Any,
        errors: Any,
    ) -> None:
        # Anything under this prefix would overwrite frozen weights: refuse it, and hide it from the children.
        for name in [name for name in state_dict if name.startswith(prefix)]:
            unexpected.append(name)
            del state_dict[name]
        self._known_missing = len(missing)


def _forget_missing(module: Frozen, incompatible: Any) -> None:
    """The frozen tensors are not in the checkpoint, by design: take back what the children reported as missing."""
    del incompatible.missing_keys[module._known_missing :]

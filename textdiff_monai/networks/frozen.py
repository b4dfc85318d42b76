"""Freezing, in one place: pretrained modules that training never changes and checkpoints only name."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

IDENTITY = "identity"


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors, the same for float16 and float32 files of the same values, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


class Frozen(nn.Module):
    """A pretrained module without gradients, always in eval mode, absent from checkpoints.

    Its state dict holds one entry, ``identity``: a JSON text as uint8 that says which weights and options computed the
    features. Loading a checkpoint that was trained beside another identity is an error, under ``strict=False`` too.
    A deep copy holds the same tensors, not second ones: servers copy the network once for every device. Moving or
    casting the copy leaves the original where it is. Subclasses call :meth:`freeze` once their modules are in place.
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
        destination = OrderedDict() if destination is None else destination
        destination[prefix + IDENTITY] = _encode(self.identity)
        return destination

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
        key = prefix + IDENTITY
        if key not in state_dict:
            missing.append(key)
        else:
            errors.extend(_differences(prefix.rstrip("."), _decode(state_dict[key]), self.identity))
        # Anything else under this prefix would overwrite frozen weights: refuse it, and hide it from the children.
        for name in [name for name in state_dict if name.startswith(prefix) and name != key]:
            unexpected.append(name)
            del state_dict[name]
        self._known_missing = len(missing)


def _forget_missing(module: Frozen, incompatible: Any) -> None:
    """The frozen tensors are not in the checkpoint, by design: take back what the children reported as missing."""
    del incompatible.missing_keys[module._known_missing :]


def _encode(identity: dict[str, Any]) -> Tensor:
    """Padded to whole KiB: loaders that drop tensors of another shape must not drop another identity."""
    text = json.dumps(identity, sort_keys=True).encode()
    return torch.tensor(list(text.ljust(-(-len(text) // 1024) * 1024)), dtype=torch.uint8)


def _decode(data: Tensor) -> dict[str, Any]:
    return json.loads(bytes(data.cpu().tolist()))


def _differences(part: str, trained: dict[str, Any], present: dict[str, Any]) -> list[str]:
    lines = [
        f"  {name}: trained with {trained.get(name)}, here {present.get(name)}"
        for name in sorted(trained.keys() | present.keys())
        if trained.get(name) != present.get(name)
    ]
    if not lines:
        return []
    return [f"the checkpoint was trained beside another frozen '{part}'; load that one:\n" + "\n".join(lines)]

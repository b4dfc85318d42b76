"""Golden numbers of another size, computed plainly: python tests/make_golden.py DIR --num_channels 256 ..."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks import published
from benchmarks.stand_ins import adm_shapes, fill, head_shapes

SIZE = (256, 256)


def make(folder, name, options, seed=0):
    """Write ``name.npz`` and ``name.json``: features, logits, five training steps, from weights filled by name."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 32, 32, generator=generator)
    image = torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear") * 2 - 1
    label = (image.mean(1) > 0).long()
    text = torch.randn(1, 10, 768, generator=generator)
    noise = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(40))
    with torch.no_grad():
        maps = published.features(fill(adm_shapes(options)), image, noise, options)
    numbers = {"image": image, "text": text, "label": label.to(torch.uint8), "noise": noise}
    for k, feature in enumerate(maps):
        numbers[f"feature{k}_mean"] = feature.double().mean((0, 2, 3))
        numbers[f"feature{k}_std"] = feature.double().std((0, 2, 3))
    state = fill(head_shapes([feature.shape[1] for feature in maps]))
    parameters = [tensor.requires_grad_() for key, tensor in state.items() if key.endswith(("weight", "bias"))]
    with torch.no_grad():
        numbers["logits"] = published.head(state, maps, text, SIZE)
    optimizer, losses = torch.optim.Adam(parameters, lr=1e-4), []
    for _ in range(5):
        optimizer.zero_grad()
        value = published.loss(published.head(state, maps, text, SIZE, training=True), label)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    with torch.no_grad():
        numbers["logits_after_training"] = published.head(state, maps, text, SIZE)
    options["dim"] = [feature.shape[1] // len(options["steps"]) for feature in maps]
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{name}.npz", train_losses=losses, **{k: v.numpy() for k, v in numbers.items()})
    (folder / f"{name}.json").write_text(json.dumps(options, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="full")
    parser.add_argument("--num_channels", type=int, default=256)
    parser.add_argument("--num_head_channels", type=int, default=64)
    parser.add_argument("--blocks", type=int, nargs="+", default=[4, 6, 8, 12])
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 150, 250])
    arguments = vars(parser.parse_args())
    target, stem, start = arguments.pop("folder"), arguments.pop("name"), time.monotonic()
    make(target, stem, {"image_size": 256, "channel_mult": "", **arguments})
    print(f"{target / stem}.npz in {time.monotonic() - start:.0f} s")

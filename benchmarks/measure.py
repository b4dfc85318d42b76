"""How long, how much memory, how many multiply-adds: on a CPU or a CUDA device."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from textdiff_monai.fast.head import linear

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What PyTorch's counter does not know, from the shapes of its arguments, two a multiply-add.
_ALSO_COUNTED: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, *_, **__: 4 * math.prod(query) * key[-2]
    ),
}


def side_by_side(jobs: Mapping[str, Callable[[], Any]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each job, after one of each to warm up; in turns, so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            seconds = _seconds(job, device)
            if turn:
                times[name].append(seconds)
    return {name: median(values) for name, values in times.items()}


def _seconds(job: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        job()
        end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1000
    begin = time.perf_counter()
    job()
    return time.perf_counter() - begin


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Multiply-adds a second of large square products; the best of several."""
    # Precisions that a CPU lacks are emulated, hundreds of times slower.
    side = 8192 if device.type == "cuda" else 2048 if dtype == torch.float32 else 512
    a, b = (torch.randn(1, side, side, device=device).to(dtype) for _ in range(2))
    with torch.no_grad():
        return side**3 / min(_seconds(lambda: linear(a, b[0]), device) for _ in range(8))


def multiply_adds(job: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What a job returns, and the multiply-adds of its matrix products and convolutions."""
    with FlopCounterMode(display=False, custom_mapping=_ALSO_COUNTED) as counter:
        result = job()
    return result, counter.get_total_flops() // 2


def in_precision(job: Callable[[], Any], device: torch.device, dtype: torch.dtype) -> Callable[[], Any]:
    """The job under autocast to a precision."""

    def run() -> Any:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return job()

    return run


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return ((ours.float() - theirs).abs().max() / theirs.abs().max()).item()


def peak_bytes(job: Callable[[], Any], device: torch.device) -> int | None:
    """Most bytes that a job held beyond what was there before; None where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        job()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = _resident("VmRSS")
        job()
        return _resident("VmHWM") - before
    except OSError:
        return None


def machine(device: torch.device) -> dict[str, Any]:
    """What figures depend on: the processor's name, threads, the load before, versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        if device.type == "cpu":
            found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
            name = found[1] if found else name
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "device": f"{name}" if device.type == "cuda" else f"{name}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "load_before": load,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _resident(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError(f"/proc/self/status does not tell {name}")
    return 1024 * int(found[1])

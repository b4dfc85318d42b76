"""Memory that was freed, given back."""

from __future__ import annotations

import contextlib
import ctypes


def return_freed_memory() -> None:
    """Give what the C library keeps of freed memory back to the system; elsewhere than with glibc, nothing.

    What a training step frees lies in pieces between what stays, and fits little of what a UNet pass takes next: kept,
    the two would add up.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)

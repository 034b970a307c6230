"""What a worker asks of the allocators: to keep what it needs all the time, and no more."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Mapping
from typing import Final

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of mallopt(3)
LARGEST_ON_HEAP: Final = 32 << 20  # the most that glibc takes
KEPT: Final = 64 << 20  # bytes that are free at the end of a heap before they are handed back


def settle() -> None:
    """Keep what is there from now on.

    The compiler alone leaves some hundred thousand objects, and a full collection would look at them all. Answers of a
    broker have megabytes: fresh memory from the kernel for each would cost the lane a tenth of its time. A C library
    without mallopt is left as it is.
    """
    gc.collect()
    gc.freeze()
    _mallopt({M_MMAP_THRESHOLD: LARGEST_ON_HEAP, M_TRIM_THRESHOLD: KEPT})


def share() -> None:
    """Let all threads allocate from one heap; before there are any.

    Each rebalance of the loop makes some clients with threads of their own, and glibc a heap for every few: after 600
    such clients half of what was held was free pieces of those.
    """
    _mallopt({M_ARENA_MAX: 1})


def _mallopt(settings: Mapping[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in settings.items():
            mallopt(name, value)

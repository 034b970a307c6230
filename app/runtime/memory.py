"""Settings of the allocators for worker processes: Python's garbage collector and glibc's malloc."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Mapping
from typing import Final

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of mallopt(3)
LARGEST_ON_HEAP: Final = 32 << 20  # bytes; the largest value that glibc accepts
LARGEST_SHARED: Final = 4 << 20  # bytes; above what a step of the loop allocates, below a restore
KEPT: Final = 64 << 20  # bytes; a heap with more free memory at its end returns that memory to the kernel


def tune_allocator() -> None:
    """Exempt the objects that exist now from garbage collection, and keep freed heap for the next large allocation.

    Called by the lane after its kernels are compiled. The compiler leaves some hundred thousand objects, which each
    full collection would visit. A broker's responses have megabytes: taking memory from the kernel for each would
    cost the lane a tenth of its time. Does nothing to a C library without mallopt.
    """
    gc.collect()
    gc.freeze()
    _mallopt({M_MMAP_THRESHOLD: LARGEST_ON_HEAP, M_TRIM_THRESHOLD: KEPT})


def share_heap() -> None:
    """Make all threads allocate from one heap, and return the free memory at its end to the kernel.

    Call it before the first thread starts. Each rebalance of the loop makes clients with threads of their own, for
    which glibc makes more heaps: after 600 such clients half of the memory held was free pieces of these heaps. The
    clients also read megabytes of state, and glibc keeps up to twice the largest piece that was ever freed, unless it
    has a limit.
    """
    _mallopt({M_ARENA_MAX: 1, M_MMAP_THRESHOLD: LARGEST_SHARED, M_TRIM_THRESHOLD: LARGEST_SHARED})


def _mallopt(settings: Mapping[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in settings.items():
            mallopt(name, value)

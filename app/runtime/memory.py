"""What a worker asks of the allocators: to keep what it needs all the time, and no more."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Mapping
from typing import Final

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of mallopt(3)
LARGEST_ON_HEAP: Final = 32 << 20  # the most that glibc takes
LARGEST_SHARED: Final = 4 << 20  # what a step of the loop needs for a moment stays; what a restore needs goes
KEPT: Final = 64 << 20  # bytes that are free at the end of a heap before they are handed back


def tune_allocator() -> None:
    """Keep what is there from now on.

    The compiler alone leaves some hundred thousand objects, and a full collection would look at them all. Answers of a
    broker have megabytes: fresh memory from the kernel for each would cost the lane a tenth of its time. A C library
    without mallopt is left as it is.
    """
    gc.collect()
    gc.freeze()
    _mallopt({M_MMAP_THRESHOLD: LARGEST_ON_HEAP, M_TRIM_THRESHOLD: KEPT})


def share_heap() -> None:
    """Let all threads allocate from one heap, and hand back what is free at its end; before there are any.

    Each rebalance of the loop makes some clients with threads of their own, and glibc a heap for every few: after 600
    such clients half of what was held was free pieces of those. And they read megabytes of state: glibc keeps up to
    twice the largest piece that was ever freed, unless it is told how much.
    """
    _mallopt({M_ARENA_MAX: 1, M_MMAP_THRESHOLD: LARGEST_SHARED, M_TRIM_THRESHOLD: LARGEST_SHARED})


def _mallopt(settings: Mapping[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in settings.items():
            mallopt(name, value)

"""What a worker asks of the allocators once it has started: to keep what it needs all the time."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
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
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP)
        mallopt(M_TRIM_THRESHOLD, KEPT)

"""What a worker asks of the allocators."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys

import pytest

from app.runtime.memory import tune_allocator


def test_what_a_worker_has_when_it_starts_is_left_alone_by_the_collector() -> None:
    before = gc.get_freeze_count()
    try:
        tune_allocator()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


HEAPS = """
import re, sys, threading
from app.runtime.memory import share_heap
if sys.argv[1] == "share_heap":
    share_heap()
done, held = threading.Barrier(5), []
def work():
    held.append([bytes(100_000) for _ in range(3)])
    done.wait(); done.wait()
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
done.wait()
starts = re.findall(r"^([0-9a-f]+)-[0-9a-f]+ rw-p 00000000 00:00 0 *$", open("/proc/self/maps").read(), re.M)
print(sum(int(start, 16) % (64 << 20) == 0 for start in starts))
done.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such heaps")
def test_threads_share_one_heap_where_that_is_asked() -> None:
    def heaps(word: str) -> int:
        done = subprocess.run([sys.executable, "-c", HEAPS, word], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert heaps("apart") > 1
    assert heaps("share_heap") == 0


FREED = """
import sys
from app.runtime.memory import share_heap
if sys.argv[1] == "share_heap":
    share_heap()
for megabytes in (1, 4, 16, 24):
    bytes(megabytes << 20)
pieces = [bytes(100_000) for _ in range(200)]
del pieces
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps other things")
def test_what_a_large_state_took_is_handed_back_where_that_is_asked() -> None:
    def held_kb(word: str) -> int:
        done = subprocess.run([sys.executable, "-c", FREED, word], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert held_kb("share_heap") < held_kb("apart") - 15_000

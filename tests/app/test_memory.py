"""What a worker asks of the allocators."""

from __future__ import annotations

import gc

from app.memory import settle


def test_what_a_worker_has_when_it_starts_is_left_alone_by_the_collector() -> None:
    before = gc.get_freeze_count()
    try:
        settle()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()

"""Work of the benches that is split over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

from rich.progress import track

from app.printing import err

Item = TypeVar("Item")
Made = TypeVar("Made")


@contextmanager
def pool(processes: int) -> Iterator[Executor | None]:
    """So many processes, begun when there is work for them; None for one, which is this process."""
    if processes == 1:
        yield None
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as executor:
        try:
            yield executor
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def each(executor: Executor | None, work: Callable[[Item], Made], items: Sequence[Item], title: str) -> list[Made]:
    """What `work` makes of each item, in the items' order; shows how far it is."""
    done = map(work, items) if executor is None else executor.map(work, items)
    return list(track(done, title, len(items), console=err, transient=True))

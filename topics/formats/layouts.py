"""Shapes of frames: a sender repeats one in frame after frame, so it is looked up once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from topics.batch import Int32, Names, TooManySeries
from topics.codec import Cause, DecodeError
from topics.formats.native import MAX_NAME, fault_of_name
from topics.frames import Frame, unpack_names

MOST_LAYOUTS: Final = 1_000


@dataclass(slots=True)
class Layout:
    """The shape of a sender's frames: as it was sent, and what it is in a partition."""

    shape: bytes
    entity: NDArray[np.int32]  # (m,) numbers of the partition
    start: NDArray[np.int32]  # (m + 1,)
    series: NDArray[np.int32]  # (n,) numbers of the partition
    hour: int = -1  # of the partition, in which its series were last marked as seen


class Layouts:
    """The shapes that a partition has seen, by the bytes of their names."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self._known: dict[bytes, Layout] = {}
        self._last: tuple[bytes, Layout | None] = b"", None  # bytes to compare are cheaper than bytes to look up

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
        self._last = b"", None

    def forget(self, ended: NDArray[np.bool_]) -> None:
        """Forget the shapes with a series in them that has ended. ended: (series,)."""
        for names in [names for names, layout in self._known.items() if ended[layout.series].any()]:
            del self._known[names]
        self._last = b"", None

    def find(self, frame: Frame) -> tuple[Layout, Frame, str]:
        """The layout of a frame, what of the frame has it, and why not all of it: there are too many series.

        Raises:
            DecodeError: it is a frame of nothing, or of another entity's series, or nothing of it can be taken.
            MustForget: there is room when other series have ended.
        """
        layout = self._last[1] if self._last[0] == frame.names else self._known.get(frame.names)
        if layout is None or layout.shape != frame.shape:
            layout, refused = self._look_up(frame)
            if refused:
                rest, some = _only(frame, layout.series >= 0)
                if not len(rest.ts):
                    raise DecodeError(Cause.TOO_MANY_SERIES, refused)
                start, series = rest.start.astype(np.int32), layout.series[layout.series >= 0]
                return Layout(b"", layout.entity[some], start, series), rest, refused
            if len(self._known) >= MOST_LAYOUTS:
                self._known.clear()
            self._known[frame.names] = layout
        if layout.hour != self.names.hour:
            self.names.seen[layout.series] = layout.hour = self.names.hour
        self._last = frame.names, layout
        return layout, frame, ""

    def _look_up(self, frame: Frame) -> tuple[Layout, str]:
        """Intern what a frame's values are of; a series for which there is no room has the number -1."""
        entities, series = unpack_names(frame.names)
        if any(not 0 < len(name) <= MAX_NAME for name in entities):
            raise DecodeError(Cause.WRONG_TYPE, f"an entity's name has 1 to {MAX_NAME} characters")
        for _, metric in series:
            if fault := fault_of_name(metric):
                raise fault
        count = np.diff(frame.start.astype(np.int64)).astype(np.int32)
        owner = np.array([at for at, _ in series], np.int64)
        if (
            (frame.entity >= len(entities)).any() or (frame.series >= len(series)).any() or not count.all()
            or (owner[frame.series] != np.repeat(frame.entity, count)).any()
        ):  # fmt: skip
            raise DecodeError(Cause.MALFORMED, "a sample of the frame has no values, or those of no series of its own")
        numbers, here, refused = np.zeros(len(entities), np.int32), np.full(len(series), -1, np.int32), ""
        used = np.unique(frame.series)  # what a sender names but sends no value of may have ended
        for number in np.unique(frame.entity).tolist():
            own = used[owner[used] == number].tolist()
            try:
                numbers[number], here[own] = self.names.intern(entities[number], [series[at][1] for at in own])
            except TooManySeries as error:
                refused, known = str(error), self.names.metrics(entities[number])
                own = [at for at in own if series[at][1] in known]
                if own:
                    numbers[number], here[own] = self.names.intern(entities[number], [series[at][1] for at in own])
        return Layout(frame.shape, numbers[frame.entity], frame.start.astype(np.int32), here[frame.series]), refused


def _only(frame: Frame, keep: NDArray[np.bool_]) -> tuple[Frame, NDArray[np.bool_]]:
    """A frame with the values where `keep` (n,) says so, and which samples (m,) have some of them: the others go."""
    start = frame.start.astype(np.int64)
    sample = np.repeat(np.arange(len(frame.ts)), start[1:] - start[:-1])
    count: Int32 = np.bincount(sample[keep], minlength=len(frame.ts)).astype(np.int32)
    some = count > 0
    ends = np.concatenate(([0], np.cumsum(count[some]))).astype(np.uint32)
    kept = frame._replace(
        ts=frame.ts[some], entity=frame.entity[some], start=ends, series=frame.series[keep], value=frame.value[keep]
    )
    return kept, some

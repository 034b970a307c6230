"""Keyed state: tables that remember what changed, so that a step costs what it changed and not what there is.

A state is a `KeyedState`: a struct whose fields are tables, plain immutable values, or states again. Rows are
immutable: a row changes by being set again. `models.tracked` says what changed, for a driver to write.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec

from topics.spec import Instant, domain_of, service_of, system_of

V = TypeVar("V")
Group = Callable[[str, V], str | Iterable[str]]

_MISSING: Final = object()


def by_domain(entity: str, _row: object) -> str:
    """What rows by entity, service or system belong to when partitions grow: the correlation domain."""
    return domain_of(entity)


def by_system(entity: str, _row: object) -> str:
    """Rows by entity are found by its system."""
    return system_of(entity)


def by_service(entity: str, _row: object) -> str:
    """Rows by entity are found by its service."""
    return service_of(entity)


class UnknownState(ValueError):
    """A state that this version cannot read; the text says of which version it is."""


class Table(dict[str, V], Generic[V]):
    """Rows by key, in the order in which they were last set.

    most: the row that was set longest ago makes room for one more; 0: no bound.
    when: the time (ms) at which a row wants attention; 0: never.
    group: what rows are found by with `of`; several when a row is found by each.
    domain: the correlation domain of a row, from its key and value: where the row goes when partitions grow. Without
    it a row goes wherever its partition's rows go.
    """

    __slots__ = (
        "_changed", "_clock", "_groups", "_heap", "_held", "_journal", "_stamps", "domain", "edits", "group", "most",
        "when",
    )  # fmt: skip

    def __init__(
        self, most: int = 0, *, when: Callable[[V], Instant] | None = None, group: Group[V] | None = None,
        domain: Callable[[str, V], str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.most, self.when, self.group, self.domain = most, when, group, domain
        self._stamps: dict[str, int] = {}  # when each row was set, on a clock that counts sets
        self._clock = 0
        self.edits = 0  # grows whenever a row may have become another, for what is computed from rows and kept beside
        self._changed: set[str] = set()  # not taken yet, by steps that stand
        self._journal: dict[str, tuple[Any, int]] = {}  # since the mark: what each row was before, and its stamp
        self._groups: dict[str, dict[str, None]] = {}
        self._heap: list[tuple[Instant, int, str]] = []  # with rows that changed since: their stamp tells
        self._held: frozenset[str] = frozenset()  # rows that are left out of `due`

    def __setitem__(self, key: str, value: V) -> None:
        self._note(key)
        self._set(key, value)
        while self.most and len(self) > self.most:  # more than one when a version before kept more
            del self[next(iter(self))]

    def __delitem__(self, key: str) -> None:
        self._note(key)
        self._drop(key)

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Remove a row: what it was."""
        if key not in self:
            if default is _MISSING:
                raise KeyError(key)
            return default
        value = self[key]
        del self[key]
        return value

    def setdefault(self, key: str, default: V) -> V:
        """The row; `default` is set when there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        for key in list(self):
            del self[key]

    def update(self, rows: Mapping[str, V]) -> None:  # type: ignore[override]
        for key, value in rows.items():
            self[key] = value

    def popitem(self) -> tuple[str, V]:
        raise TypeError("rows are removed by key")

    def __ior__(self, rows: Any) -> Any:  # type: ignore[misc]
        raise TypeError("rows are set by key or by update")

    def of(self, group: str) -> list[V]:
        """The rows of a group, in the order in which they were last set."""
        return [self[key] for key in self._groups.get(group, ())]

    def keys_of(self, group: str) -> list[str]:
        """The keys of the rows of a group."""
        return list(self._groups.get(group, ()))

    def holds(self, group: str, besides: str = "") -> bool:
        """Whether a group has a row, of another key than `besides`."""
        members = self._groups.get(group, ())
        return len(members) > (besides in members)

    def count(self, group: str) -> int:
        """How many rows a group has."""
        return len(self._groups.get(group, ()))

    def groups(self) -> list[str]:
        """The groups that have rows."""
        return list(self._groups)

    def grouped(self, group: Group[V]) -> None:
        """Let `group` say what rows are found by, as settings make it; those that are there included."""
        self.group = group
        self._index()

    def due(self, now: Instant) -> list[str]:
        """The keys of rows whose time has come, the earliest first; they stay due until they are set or removed."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            at, stamp, key = heapq.heappop(self._heap)
            if self._stamps.get(key) == stamp:
                found.append((at, stamp, key))
        for entry in found:
            heapq.heappush(self._heap, entry)
        return [key for _, _, key in found if key not in self._held]

    def next_due(self) -> Instant | None:
        """When the next row wants attention."""
        while self._heap and self._stamps.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def timed(self, when: Callable[[V], Instant]) -> None:
        """Let `when` say when rows want attention, as settings make it; those that are there included."""
        self.when = when
        self._heap = [(at, self._stamps[key], key) for key, value in self.items() if (at := when(value))]
        heapq.heapify(self._heap)

    def hold(self, keys: Iterable[str]) -> None:
        """Leave these rows out of `due` until they are named no more."""
        self._held = frozenset(keys)

    def mark(self) -> None:
        """What changed until now stands."""
        if self._journal:
            self._changed.update(self._journal)
            self._journal.clear()

    def undo(self) -> None:
        """Become what this was at the last mark, in the same order."""
        if not self._journal:
            return
        for key, (value, stamp) in self._journal.items():
            if key in self:
                self._drop(key)
            if value is not _MISSING:
                super().__setitem__(key, value)
                self._stamps[key] = stamp
        rows = sorted(self.items(), key=lambda row: self._stamps[row[0]])
        super().clear()
        super().update(rows)
        self._journal.clear()
        self._index()

    def take(self) -> tuple[dict[str, V], list[str]]:
        """What changed since it was last taken: rows that were set, in their order, and keys that were removed."""
        self.mark()
        changed, self._changed = self._changed, set()
        rows = sorted((key for key in changed if key in self), key=self._stamps.__getitem__)
        return {key: self[key] for key in rows}, sorted(key for key in changed if key not in self)

    def load(self, rows: Mapping[str, V], gone: Iterable[str] = ()) -> None:
        """Take rows that were written before; they are no changes."""
        for key in gone:
            if key in self:
                self._drop(key)
        for key, value in rows.items():
            self._set(key, value)

    def _note(self, key: str) -> None:
        if key not in self._journal:
            self._journal[key] = self.get(key, _MISSING), self._stamps.get(key, -1)

    def _set(self, key: str, value: V) -> None:
        if key in self:
            self._drop(key)
        super().__setitem__(key, value)
        self._clock += 1
        self.edits += 1
        self._stamps[key] = self._clock
        for group in self._of(key, value):
            self._groups.setdefault(group, {})[key] = None
        if self.when is not None and (at := self.when(value)):
            if len(self._heap) > 2 * len(self) + 64:
                self.timed(self.when)
            else:
                heapq.heappush(self._heap, (at, self._clock, key))

    def _drop(self, key: str) -> None:
        self.edits += 1
        for group in self._of(key, self[key]):
            members = self._groups[group]
            del members[key]
            if not members:
                del self._groups[group]
        super().__delitem__(key)
        del self._stamps[key]

    def _of(self, key: str, value: V) -> Iterable[str]:
        if self.group is None:
            return ()
        found = self.group(key, value)
        return (found,) if isinstance(found, str) else dict.fromkeys(found)

    def _index(self) -> None:
        self.edits += 1
        self._groups = {}
        for key, value in self.items():
            for group in self._of(key, value):
                self._groups.setdefault(group, {})[key] = None
        if self.when is not None:
            self.timed(self.when)


def table(
    most: int = 0, *, when: Callable[[Any], Instant] | None = None, group: Group[Any] | None = None,
    domain: Callable[[str, Any], str] | None = None,
) -> Any:  # fmt: skip
    """A field of a `KeyedState` that is an empty `Table`."""
    return msgspec.field(default_factory=functools.partial(Table, most, when=when, group=group, domain=domain))


class Given(msgspec.Struct, frozen=True, dict=True):
    """What a state is given by its agent and does not keep: it is in no snapshot and no change."""


class Changes(msgspec.Struct, omit_defaults=True):
    """What changed in a state. `values` and `rows` are by the path of the field, as `advisor.learned.arms`."""

    version: int
    values: dict[str, Any] = {}
    rows: dict[str, Any] = {}  # of each table, by key
    gone: dict[str, list[str]] = {}  # keys of each table


class KeyedState(msgspec.Struct):
    """KeyedState of an agent, or a part of one.

    `version` counts up with each change that an older reader misunderstands.
    """

    version: ClassVar[int] = 1

    @classmethod
    def migrate(cls, old: Changes) -> Changes:
        """What was written by the version before, as plain data, in the shape of this one. A new version overrides it.

        Raises:
            UnknownState: this version cannot read what the one before wrote.
        """
        raise UnknownState(f"version {old.version}, and this program reads version {cls.version}")

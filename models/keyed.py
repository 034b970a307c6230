"""Keyed state: tables that remember what changed, so that a step costs what it changed and not what there is.

A state is a `KeyedState`: a struct whose fields are tables, plain immutable values, or states again. Rows are
immutable: a row changes by being set again. What changed since it was last taken is the `Changes` that a driver
writes; what changed since the last mark can be undone from memory.
"""

from __future__ import annotations

import functools
import heapq
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec

from topics.spec import Instant

V = TypeVar("V")

BLOCK_ROWS: Final = 200  # rows that are encoded at once when a whole state is: some tenths of a millisecond
_MISSING: Final = object()


class UnknownState(ValueError):
    """A state that this version cannot read; the text says of which version it is."""


class Table(dict[str, V], Generic[V]):
    """Rows by key, in the order in which they were last set.

    most: the row that was set longest ago makes room for one more; 0: no bound.
    when: the time (ms) at which a row wants attention; 0: never.
    group: what rows are found by with `of`.
    domain: the correlation domain of a row, from its key and value: where the row goes when partitions grow. Without
    it a row goes wherever its partition's rows go.
    """

    __slots__ = (
        "_changed", "_clock", "_groups", "_heap", "_held", "_journal", "_stamps", "domain", "group", "most", "when",
    )  # fmt: skip

    def __init__(
        self, most: int = 0, *, when: Callable[[V], Instant] | None = None, group: Callable[[str, V], str] | None =
        None, domain: Callable[[str, V], str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.most, self.when, self.group, self.domain = most, when, group, domain
        self._stamps: dict[str, int] = {}  # when each row was set, on a clock that counts sets
        self._clock = 0
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

    def groups(self) -> list[str]:
        """The groups that have rows."""
        return list(self._groups)

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
        self._stamps[key] = self._clock
        if self.group is not None:
            self._groups.setdefault(self.group(key, value), {})[key] = None
        if self.when is not None and (at := self.when(value)):
            if len(self._heap) > 2 * len(self) + 64:
                self.timed(self.when)
            else:
                heapq.heappush(self._heap, (at, self._clock, key))

    def _drop(self, key: str) -> None:
        if self.group is not None:
            members = self._groups[group := self.group(key, self[key])]
            del members[key]
            if not members:
                del self._groups[group]
        super().__delitem__(key)
        del self._stamps[key]

    def _index(self) -> None:
        if self.group is not None:
            self._groups = {}
            for key, value in self.items():
                self._groups.setdefault(self.group(key, value), {})[key] = None
        if self.when is not None:
            self.timed(self.when)


def table(
    most: int = 0, *, when: Callable[[Any], Instant] | None = None, group: Callable[[str, Any], str] | None = None,
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


class _Written(msgspec.Struct):
    version: int
    values: dict[str, msgspec.Raw] = {}
    rows: dict[str, msgspec.Raw] = {}
    gone: dict[str, list[str]] = {}


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


class ChangeTracker:
    """The tables and plain values of a state, by path, and what changed in them."""

    def __init__(self, state: KeyedState) -> None:
        self.state = state
        self.tables: dict[str, Table[Any]] = {}
        self._fields: dict[str, tuple[KeyedState, str]] = {}  # of plain values: whose, and its name
        self._types = _types(type(state))
        self._find(state, "")
        self._marked = self._values()
        self._kept = self._marked  # as they were last taken

    def mark(self) -> None:
        """What changed until now stands."""
        for each in self.tables.values():
            each.mark()
        self._marked = self._values()

    def undo(self) -> None:
        """Become what the state was at the last mark."""
        for each in self.tables.values():
            each.undo()
        for path, value in self._marked.items():
            owner, name = self._fields[path]
            setattr(owner, name, value)

    def take(self) -> Changes | None:
        """What changed since it was last taken; None: nothing."""
        self._marked = now = self._values()
        changes = Changes(self.state.version, {p: v for p, v in now.items() if v != self._kept[p]})
        self._kept = now
        for path, each in self.tables.items():
            rows, gone = each.take()
            if rows:
                changes.rows[path] = rows
            if gone:
                changes.gone[path] = gone
        return changes if changes.values or changes.rows or changes.gone else None

    def whole(self) -> Iterator[Changes]:
        """All that there is, as changes of an empty state, in blocks; what changes meanwhile is not in them."""
        values, copies = self._values(), {path: dict(each) for path, each in self.tables.items() if each}
        return self._blocks(values, copies)

    def load(self, written: bytes | memoryview) -> None:
        """Take changes that were written before.

        Raises:
            UnknownState: this version cannot read them.
        """
        try:
            changes = self._read(written)
            for path, value in changes.values.items():
                owner, name = self._fields[path]
                setattr(owner, name, self._types[path].decode(value))
            for path in {**changes.gone, **changes.rows}:
                rows = self._types[path].decode(changes.rows[path]) if path in changes.rows else {}
                self.tables[path].load(rows, changes.gone.get(path, ()))
        except (msgspec.MsgspecError, KeyError) as error:
            raise UnknownState(f"unreadable ({error})") from None
        self._marked = self._values()
        self._kept = self._marked

    def _read(self, written: bytes | memoryview) -> _Written:
        """What was written, in this version's shape."""
        changes, version = _DECODER.decode(written), self.state.version
        if changes.version == version:
            return changes
        if changes.version != version - 1:
            raise UnknownState(f"version {changes.version}, and this program reads version {version}")
        migrated = self.state.migrate(msgspec.msgpack.decode(written, type=Changes))
        return _DECODER.decode(msgspec.msgpack.encode(msgspec.structs.replace(migrated, version=version)))

    def due(self, now: Instant) -> list[tuple[str, str]]:
        """The rows whose time has come, each by path of its table and key."""
        return [(path, key) for path, each in self.tables.items() for key in each.due(now)]

    def next_due(self) -> Instant | None:
        """When the next row of any table wants attention."""
        return min((at for each in self.tables.values() if (at := each.next_due()) is not None), default=None)

    def hold(self, rows: Iterable[tuple[str, str]]) -> None:
        """Leave these rows out of what is due until they are named no more."""
        held = list(rows)
        for path, each in self.tables.items():
            each.hold(key for where, key in held if where == path)

    def keep_only(self, ours: Callable[[str], bool]) -> None:
        """Remove the rows of correlation domains for which `ours` is false."""
        for each in self.tables.values():
            if (domain := each.domain) is not None:
                for key in [key for key, value in each.items() if not ours(domain(key, value))]:
                    del each[key]

    def _find(self, state: KeyedState, prefix: str) -> None:
        for name in state.__struct_fields__:
            value, path = getattr(state, name), f"{prefix}{name}"
            if isinstance(value, KeyedState):
                self._find(value, f"{path}.")
            elif isinstance(value, Table):
                self.tables[path] = value
            elif not isinstance(value, Given):
                self._fields[path] = state, name

    def _values(self) -> dict[str, Any]:
        return {path: getattr(owner, name) for path, (owner, name) in self._fields.items()}

    def _blocks(self, values: dict[str, Any], copies: dict[str, dict[str, Any]]) -> Iterator[Changes]:
        yield Changes(self.state.version, values)
        for path, rows in copies.items():
            found = list(rows.items())
            for first in range(0, len(found), BLOCK_ROWS):
                yield Changes(self.state.version, rows={path: dict(found[first : first + BLOCK_ROWS])})


_DECODER: Final = msgspec.msgpack.Decoder(_Written)


@functools.cache
def _types(shape: type[KeyedState]) -> dict[str, msgspec.msgpack.Decoder[Any]]:
    """What reads each plain value and the rows of each table, by path; made before there are threads."""
    return dict(_decoders(shape, {}, ""))


def _decoders(
    shape: type[KeyedState], named: Mapping[Any, Any], prefix: str
) -> Iterator[tuple[str, msgspec.msgpack.Decoder[Any]]]:
    hints = typing.get_type_hints(shape, include_extras=True)
    for name in shape.__struct_fields__:
        hint = named.get(hints[name], hints[name])
        origin = typing.get_origin(hint) or hint
        given = tuple(named.get(each, each) for each in typing.get_args(hint))
        if origin is Table:
            yield f"{prefix}{name}", msgspec.msgpack.Decoder(dict[str, given[0]])  # type: ignore[valid-type]
        elif isinstance(origin, type) and issubclass(origin, KeyedState):
            inner = dict(zip(getattr(origin, "__parameters__", ()), given, strict=True))
            yield from _decoders(origin, inner, f"{prefix}{name}.")
        elif not (isinstance(origin, type) and issubclass(origin, Given)):
            yield f"{prefix}{name}", msgspec.msgpack.Decoder(hint)

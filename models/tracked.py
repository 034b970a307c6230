"""What changed in a keyed state: since it was last taken, for a driver to write; since the last mark, to be undone."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from models.keyed import Changes, Given, KeyedState, Table, UnknownState
from topics.spec import Instant

BLOCK_ROWS: Final = 200  # rows that are encoded at once when a whole state is: some tenths of a millisecond


class _Written(msgspec.Struct):
    version: int
    values: dict[str, msgspec.Raw] = {}
    rows: dict[str, msgspec.Raw] = {}
    gone: dict[str, list[str]] = {}


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

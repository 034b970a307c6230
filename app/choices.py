"""What a wrong value could have been: the names that a table takes, the values that a choice takes."""

from __future__ import annotations

import difflib
import re
from typing import Any, Final

import msgspec
from msgspec import inspect

_STEP: Final = re.compile(r"\.(\w+)|\[(?:\d+|\.\.\.)\]")
_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`|Invalid enum value '?([^']*)'?")


def choices(error: msgspec.ValidationError, root: type[Any]) -> str:
    """A sentence that names what may stand where `error` arose in a value of type `root`; empty: there is no list."""
    text, _, place = str(error).partition(" - at `$")
    known = _known(_at(inspect.type_info(root), place.rstrip("`")), unknown="unknown field" in text)
    if not known:
        return ""
    found = _UNKNOWN.search(text)
    near = difflib.get_close_matches(found[1] or found[2] or "", known, 1) if found else []
    there = f"[{place.rstrip('`').lstrip('.')}]" if place else "the file"
    guess = f"Did you mean {near[0]}? " if near else ""
    return f"{guess}{there} takes {', '.join(known)}"


def _at(kind: inspect.Type, place: str) -> list[inspect.Type]:
    """The types that may stand at a place such as `.safety.freezes[0]`."""
    kinds = _alternatives(kind)
    for step in _STEP.finditer(place):
        kinds = [inner for kind in kinds for inner in _inside(kind, step[1] or "")]
    return kinds


def _inside(kind: inspect.Type, name: str) -> list[inspect.Type]:
    match kind:
        case inspect.StructType():
            return [inner for field in kind.fields if field.encode_name == name for inner in _alternatives(field.type)]
        case inspect.DictType():
            return _alternatives(kind.value_type)
        case inspect.CollectionType():
            return _alternatives(kind.item_type)
    return []


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    match kind:
        case inspect.UnionType():
            return [inner for one in kind.types for inner in _alternatives(one)]
        case inspect.Metadata():
            return _alternatives(kind.type)
    return [kind]


def _known(kinds: list[inspect.Type], *, unknown: bool) -> list[str]:
    """Names of fields when one was unknown, otherwise values."""
    known: list[str] = []
    for kind in kinds:
        match kind:
            case inspect.StructType() if unknown:
                known += [field.encode_name for field in kind.fields]
            case inspect.EnumType() if not unknown:
                known += [str(member.value) for member in kind.cls]
            case inspect.LiteralType() if not unknown:
                known += map(str, kind.values)
            case inspect.BoolType() if not unknown:
                known += ["true", "false"]
    return known

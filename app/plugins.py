"""Detectors, formats and actuators of other packages, found by their entry points.

An installed package changes nothing by itself: a member is imported when a setting or `opsloop check` names it. A name
that two packages offer, or that Opsloop has itself, belongs to nobody; a package that cannot be imported is left out.
Each is told in one line with the package's name.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from app.errors import UserError
from models.detection import members
from models.detection.settings import DetectionSettings
from topics import formats
from topics.formats.foreign import AUTO, MIXED, OURS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

DETECTORS, FORMATS, ACTUATORS = "opsloop.detectors", "opsloop.formats", "opsloop.actuators"
GROUPS: Final = (DETECTORS, FORMATS, ACTUATORS, "opsloop.packs", "opsloop.notifiers")
_SHIPPED: Final[Mapping[str, Iterable[str]]] = {
    DETECTORS: members.MEMBERS, FORMATS: (*formats.READERS, AUTO, MIXED, OURS), ACTUATORS: ("supervisor",),
}  # fmt: skip


class Plugin(NamedTuple):
    """One entry point of one installed package."""

    group: str
    name: str
    package: str  # name and version
    entry: EntryPoint


class PluginError(Exception):
    """A member that cannot be had: the text says why, in one line with the package's name."""


def installed(*groups: str) -> list[Plugin]:
    """The entry points of these groups (none given: all of `GROUPS`), by group, name and package. Imports nothing."""
    from importlib import metadata  # only when settings name what is not shipped

    found = [
        Plugin(group, entry.name, _package(entry), entry)
        for group in groups or GROUPS
        for entry in metadata.entry_points(group=group)
    ]
    return sorted(found, key=lambda plugin: plugin[:3])


def clash(plugin: Plugin, others: Iterable[Plugin]) -> str:
    """Why the name of a plugin belongs to somebody else; empty: it does not."""
    if plugin.name in _SHIPPED.get(plugin.group, ()):
        return f"{_told(plugin)} has the name of one that is shipped"
    rivals = [o for o in others if o[:2] == plugin[:2] and o.package != plugin.package]
    return f"{_told(plugin)} is also offered by {', '.join(o.package for o in rivals)}" if rivals else ""


def load(group: str, name: str) -> Any:
    """What the entry point of this group and name refers to.

    Raises:
        PluginError: no package offers it, its name clashes, it cannot be imported, or it is not what the group is for.
        KeyError: no package offers it.
    """
    offered = [plugin for plugin in installed(group) if plugin.name == name]
    if not offered:
        raise KeyError(name)
    plugin = offered[0]
    if why := clash(plugin, offered):
        raise PluginError(why)
    try:
        found = plugin.entry.load()
    except (Exception, SystemExit) as error:  # whatever a stranger's module does when it is imported
        raise PluginError(f"{_told(plugin)} cannot be imported: {_brief(error)}") from None
    if fault := _FIT[group](found, name):
        raise PluginError(f"{_told(plugin)} {fault}")
    return found


def state(plugin: Plugin) -> str:
    """What is wrong with a plugin, in one line; empty: it can be used. Imports it."""
    try:
        load(plugin.group, plugin.name)
    except PluginError as error:
        return str(error)
    return ""


def with_detectors(settings: DetectionSettings) -> DetectionSettings:
    """Make the detectors that settings name known; the settings without those that cannot be loaded.

    Raises:
        UserError: a name is that of no detector, shipped or installed.
    """
    wanted = dict.fromkeys(name for pattern in settings.patterns for name in pattern.learners or ())
    found = _load_all(DETECTORS, wanted, "settings: $.detection.patterns: there is no detector")
    members.add(found.values())
    known = members.names()
    if all(name in known for name in wanted):
        return settings
    patterns = tuple(
        pattern if pattern.learners is None
        else msgspec.structs.replace(pattern, learners=tuple(n for n in pattern.learners if n in known))
        for pattern in settings.patterns
    )  # fmt: skip
    return msgspec.structs.replace(settings, patterns=patterns)


def with_formats(topics: Mapping[str, str]) -> dict[str, str]:
    """Make the formats known that topics (name or pattern → format) name; the topics whose format can be loaded.

    Raises:
        UserError: a name is that of no format, shipped or installed.
    """
    formats.add(_load_all(FORMATS, dict.fromkeys(topics.values()), "settings: $.ingest.topics: there is no format"))
    known = {*formats.names(), *_SHIPPED[FORMATS]}
    return {topic: format for topic, format in topics.items() if format in known}


def actuators(enabled: Iterable[str], options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The actuators that settings enable, by name, made with their options. Told and left out: what cannot be made.

    Raises:
        UserError: a name is that of no installed actuator.
    """
    made = {}
    for name, factory in _load_all(ACTUATORS, enabled, "settings: $.actuators.enabled: there is no actuator").items():
        try:
            made[name] = factory(**options.get(name, {}))
        except Exception as error:
            tell(f"actuator {name} cannot be made with its options: {_brief(error)}; left out")
    return made


@functools.cache
def tell(line: str) -> None:
    """Write a line to stderr, once in a process."""
    sys.stderr.write(f"opsloop: {line}\n")


def _load_all(group: str, wanted: Iterable[str], missing: str) -> dict[str, Any]:
    found = {}
    for name in wanted:
        if name in _SHIPPED[group]:
            continue
        try:
            found[name] = load(group, name)
        except PluginError as error:
            tell(f"{error}; left out")
        except KeyError:
            names = sorted({*_SHIPPED[group], *(plugin.name for plugin in installed(group))})
            near = difflib.get_close_matches(name, names, 1)
            guess = f"Did you mean {near[0]}? " if near else ""
            raise UserError(f"{missing} {name!r}", f"{guess}There are {', '.join(names)}") from None
    return found


def _detector_fault(found: Any, name: str) -> str:
    from models.detection.base import Detector  # numpy, for which a command that only reads settings need not wait

    if not (inspect.isclass(found) and issubclass(found, Detector)):
        return "is no subclass of models.detection.base.Detector"
    return "" if getattr(found, "name", "") == name else f"calls itself {getattr(found, 'name', '')!r}, not {name!r}"


def _callable_fault(found: Any, name: str) -> str:  # noqa: ARG001
    return "" if callable(found) else "is nothing that can be called"


_FIT: Final[Mapping[str, Callable[[Any, str], str]]] = {
    DETECTORS: _detector_fault, FORMATS: _callable_fault, ACTUATORS: _callable_fault,
    "opsloop.packs": lambda *_: "", "opsloop.notifiers": lambda *_: "",
}  # fmt: skip


def _told(plugin: Plugin) -> str:
    return f"{plugin.group.removeprefix('opsloop.').removesuffix('s')} {plugin.name} of {plugin.package}"


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a package without a name"


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:200]

"""Influx line protocol, Telegraf's default: `cpu,host=web01,cpu=cpu0 usage_idle=92.5 1717000000000000000`.

Quotes count in the values of fields alone, and only there may a line go on after a newline. A backslash is an escape
before a comma, an equals sign, a blank or another one; elsewhere (`C:\\Temp`) it is itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from topics.formats.names import NO_TIME, Sampled, instant
from topics.formats.naming import Naming
from topics.formats.telegraf import metrics_of
from topics.formats.tolerance import Refuse, strict, tried
from topics.spec import Instant

_WORD: Final = r"(?:\\[,= \\]|[^,= \n])+"
_NAME: Final = re.compile(r"(?:\\[, \\]|[^, \n])+")
_TAG: Final = re.compile(rf",({_WORD})=((?:\\[,= \\]|[^,= \n])*)")
_KEY: Final = re.compile(rf"({_WORD})=")
_TEXT: Final = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)
_BARE: Final = re.compile(r"[^, \n\r]+")
_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+[iu]|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)")
_TIME: Final = re.compile(r" *(-?[0-9]+)?")
_BLANK: Final = re.compile(r"(?<!\\) ")  # ends the tags
_ESCAPE: Final = re.compile(r"\\([,= \\])")
_NOT_FINITE: Final = ("nan", "inf", "+inf", "-inf")  # in no line by the protocol, but the cause is another one
_TRUE, _FALSE = ("t", "T", "true", "True", "TRUE"), ("f", "F", "false", "False", "FALSE")


def read(value: bytes, naming: Naming, refuse: Refuse = strict) -> Iterator[Sampled]:
    """Each line as a sample. `refuse` is told of each line, and of each field, that is not of the protocol."""
    for line in lines(value):
        yield from tried(refuse, read_line, line, naming, NO_TIME, refuse)


def lines(value: bytes) -> Iterator[str]:
    """The lines of a text that say something. What is no UTF-8 in them is as `surrogateescape` has it."""
    text, at = value.decode("utf-8-sig", "surrogateescape"), 0
    while at < len(text):
        end = _end(text, at)
        line = text[at:end]
        if line.strip() and not line.lstrip().startswith("#"):
            yield line
        at = end + 1


def _end(text: str, at: int) -> int:
    """Where the line at `at` ends: a newline within the text of a field does not end it."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    blank = _BLANK.search(text, at, end)
    quote = text.find('="', blank.end(), end) if blank else -1
    while quote >= 0 and (held := _TEXT.match(text, quote + 1)):
        if held.end() > end:
            end = text.find("\n", held.end())
            end = len(text) if end < 0 else end
        quote = text.find('="', held.end(), end)
    return end


def read_line(line: str, naming: Naming, now: Instant | None = None, refuse: Refuse = strict) -> Sampled:
    """One line as a sample, of `now` (ms) when it has no time. Raises ValueError: it is not of the protocol."""
    line.encode()  # what was no UTF-8 is no text
    line = line.strip("\r\n\t ")
    name = _NAME.match(line)
    if name is None:
        raise ValueError("a line begins with a measurement")
    at, tags = name.end(), dict[str, str]()
    while tag := _TAG.match(line, at):
        tags[_plain(tag[1])], at = _plain(tag[2]), tag.end()
    fields, at = _fields(line, at)
    stamp = _TIME.fullmatch(line, at)
    if stamp is None or (stamp[1] is None and now is None):
        raise ValueError("a line has a measurement with tags, fields, and a time")
    measured = _plain(name[0])
    whose = naming.of(tags, measured)
    read = ((key, number) for key, text in fields for number in tried(refuse, _number, text))
    metrics = metrics_of(measured, {key: number for key, number in read if number is not None}, whose)
    return Sampled(whose.entity, now or 0 if stamp[1] is None else instant(int(stamp[1])), metrics)


def _fields(line: str, at: int) -> tuple[list[tuple[str, str]], int]:
    """Names and values of the fields that begin after the blanks at `at`, and where they end."""
    begin, found = at, list[tuple[str, str]]()
    while at < len(line) and line[at] == " ":
        at += 1
    while at > begin and (key := _KEY.match(line, at)):
        text = line[key.end() : key.end() + 1] == '"'
        held = (_TEXT if text else _BARE).match(line, key.end())
        if held is None:
            raise ValueError("a field has no value, or a text without an end")
        found.append((_plain(key[1]), held[0]))
        at = held.end()
        if line[at : at + 1] != ",":
            break
        at += 1
    if not found or line[at - 1] == ",":
        raise ValueError("a line has fields after a blank")
    return found, at


def _plain(text: str) -> str:
    return _ESCAPE.sub(r"\1", text) if "\\" in text else text


def _number(text: str) -> float | None:
    """The number of a field; None where it holds text."""
    if text.startswith('"'):
        return None
    if text in _TRUE or text in _FALSE:
        return float(text in _TRUE)
    if not _NUMBER.fullmatch(text) and text.lower() not in _NOT_FINITE:
        raise ValueError(f"{text[:80]!r} is no number")
    return float(text if text.lower() in _NOT_FINITE else text.rstrip("iu"))

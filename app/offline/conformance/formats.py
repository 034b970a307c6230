"""What every format promises: a reader of one message, and examples of messages. See `topics.formats`."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from agents.rekey import Rekey
from app.offline.conformance.promises import Broken, Promise, require
from topics import formats
from topics.codec import DeadLetter, DecodeError
from topics.formats import native
from topics.formats.names import Logged, Sampled
from topics.formats.tolerance import NOT_AS_IT_SAYS
from topics.spec import Raw

DAMAGES: Final = 500
ARRIVED_MS: Final = 4_102_444_800_000  # 2100: no example is of a later time
OTHERS: Final[tuple[Any, ...]] = (None, [], {}, "text", -1, True)
ODD: Final[tuple[bytes, ...]] = (
    b"{}", b"[]", b"[1, null, {}]", b'{"a": {"b": [1, 2, {"c": null}]}}', b"\x00\xff\xfe", b" ", b"a=b c=d",
    b'{"timestamp": "never", "value": {}}', b'{"metrics": null, "tags": [], "fields": 3}',
)  # fmt: skip


class Subject(NamedTuple):
    """A format and what is in it. The name must be known to `topics.formats`."""

    name: str
    examples: Sequence[bytes]  # messages, each as a whole


def _read(subject: Subject, value: bytes) -> list[Sampled | Logged]:
    """What is in a message, as a worker of the lane reads it. Raises DecodeError."""
    return native.foreign(native.content_of(value), b"key", subject.name)


def _has_examples(subject: Subject) -> None:
    require(bool(subject.examples), "there is no example")
    for number, value in enumerate(subject.examples, 1):
        try:
            found = _read(subject, value)
        except DecodeError as error:
            raise Broken(f"example {number} is refused: {error}") from None
        require(bool(found), f"nothing is found in example {number}")


def _gives_what_can_be_learned(subject: Subject) -> None:
    for number, value in enumerate(subject.examples, 1):
        for found in _read(subject, value):
            fault = native.fault_of(found.ts, ARRIVED_MS)
            require(not fault, f"example {number}: {fault}")
            require(bool(found.entity), f"example {number} has a measurement of nobody")
            if isinstance(found, Sampled):
                odd = [name for name, value in found.metrics.items() if type(value) is not float]
                require(not odd, f"example {number}: {', '.join(odd)} is no float")
                wrong = [name for name, value in found.metrics.items() if not math.isfinite(value)]
                require(not wrong, f"example {number}: {', '.join(wrong)} is not finite")


def _reads_the_same_again(subject: Subject) -> None:
    for number, value in enumerate(subject.examples, 1):
        content = native.content_of(value)
        kept = copy.deepcopy(content)
        first, second = (native.foreign(content, b"key", subject.name) for _ in range(2))
        require(first == second, f"example {number} says something else when it is read again")
        require(content == kept, f"the reader changes what it is given (example {number})")


def _refuses_what_is_damaged(subject: Subject) -> None:
    rng = np.random.default_rng(1)
    for value in subject.examples:
        for _ in range(DAMAGES):
            _is_read_or_refused(subject, _damaged(value, rng))


def _refuses_what_is_another(subject: Subject) -> None:
    for value in ODD:
        _is_read_or_refused(subject, value)


def _refuses_other_types(subject: Subject) -> None:
    for value in subject.examples:
        content = native.content_of(value)
        if isinstance(content, dict):
            for name in content:
                for other in OTHERS:
                    _is_read_or_refused(subject, orjson.dumps({**content, name: other}))
                _is_read_or_refused(subject, orjson.dumps({n: v for n, v in content.items() if n != name}))


def _arrives(subject: Subject) -> None:
    """Through the agent that writes other agents' messages to the topics of Opsloop."""
    rekey = Rekey(lambda _: subject.name)
    for number, value in enumerate(subject.examples, 1):
        raw = Raw("theirs", 0, number, b"key", value, (), ARRIVED_MS)
        refused = [out for out in rekey.step([raw], ARRIVED_MS) if isinstance(out, DeadLetter)]
        require(not refused, f"example {number} is set aside: {refused[0].detail if refused else ''}")


def _is_read_or_refused(subject: Subject, value: bytes) -> None:
    try:
        content = native.content_of(value)
    except DecodeError:
        return
    try:
        list(formats.reader(subject.name)(content))
    except (DecodeError, *NOT_AS_IT_SAYS):
        return
    except Exception as error:
        raise Broken(f"it raises {type(error).__name__} ({error}) over {value[:120]!r}") from None


def _damaged(value: bytes, rng: Any) -> bytes:
    found = bytearray(value)
    for _ in range(rng.integers(1, 5)):
        found[rng.integers(len(found))] = rng.integers(256)
    if rng.random() < 0.3:
        del found[rng.integers(len(found)) :]
    return bytes(found)


PROMISES: Final[tuple[Promise[Subject], ...]] = (
    Promise("each example holds at least one measurement or line of a log", _has_examples),
    Promise("each has an entity, a time in milliseconds from 1973 on, and values that are finite floats",
            _gives_what_can_be_learned),
    Promise("reading changes nothing: the same message says the same again", _reads_the_same_again),
    Promise("a damaged message is read or refused with ValueError, KeyError, TypeError or the like",
            _refuses_what_is_damaged),
    Promise("so is a message of something else", _refuses_what_is_another),
    Promise("so is an example with a part missing or of another type", _refuses_other_types),
    Promise("each example arrives on the topics of Opsloop", _arrives),
)  # fmt: skip

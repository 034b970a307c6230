"""What every format keeps to; a new one costs an example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from app.offline.conformance.formats import PROMISES, Subject
from app.offline.conformance.promises import Promise, broken
from tests.topics.formats.test_formats import EXAMPLES
from topics import formats
from topics.formats.names import Sampled

AT = 1_717_000_000_000


def subjects() -> list[Subject]:
    """Every shipped format with the examples of it."""
    found: dict[str, list[bytes]] = {}
    for value, _ in EXAMPLES.values():
        found.setdefault(formats.recognise(formats.content_of(value)), []).append(value)
    return [Subject(name, examples) for name, examples in sorted(found.items())]


def test_there_is_an_example_of_every_shipped_format() -> None:
    assert {subject.name for subject in subjects()} == set(formats.READERS)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.text)
@pytest.mark.parametrize("subject", subjects(), ids=lambda subject: subject.name)
def test_a_shipped_format_keeps_each_promise(subject: Subject, promise: Promise[Subject]) -> None:
    promise.check(subject)


@pytest.fixture(autouse=True)
def formats_as_they_were() -> Iterator[None]:
    yield
    formats.add({})


def sound(content: Any) -> Iterable[Sampled]:
    yield Sampled(str(content["of"]), int(content["at"]), {"load": float(content["load"])})


def empty(content: Any) -> Iterable[Sampled]:
    return []


def early(content: Any) -> Iterable[Sampled]:
    yield Sampled("web-1", 1_717_000_000, {"load": 1.0})  # seconds


def counting(content: Any) -> Iterable[Sampled]:
    content["load"] += 1
    return sound(content)


def sudden(content: Any) -> Iterable[Sampled]:
    if "of" not in content or not isinstance(content["of"], str):
        raise SystemError("what is this?")
    return sound(content)


BREAKERS = [(empty, 0), (early, 1), (counting, 2), (sudden, 3), (sudden, 4), (sudden, 5), (early, 6)]


def test_a_sound_format_of_another_package_keeps_all_of_them() -> None:
    formats.add({"theirs": sound})
    examples = [b'{"of": "web-1", "at": %d, "load": 1.5}' % AT]
    assert [fault for _, fault in broken(PROMISES, Subject("theirs", examples)) if fault] == []


@pytest.mark.parametrize(("reader", "number"), BREAKERS)
def test_a_format_that_breaks_a_promise_is_told_which(reader: formats.Reader, number: int) -> None:
    formats.add({"theirs": reader})
    subject = Subject("theirs", [b'{"of": "web-1", "at": %d, "load": 1.5}' % AT])
    text, fault = next(broken(PROMISES[number : number + 1], subject))
    assert text == PROMISES[number].text
    assert fault

"""What may be learned: forks at incidents, what a label makes of them, and that a fault seen once is seen again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import orjson
import pytest

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from agents.label import Labeller
from tests.builders import incident
from topics.incidents import State
from topics.learning import Feedback, Label, Learning
from topics.signals import Anomaly
from topics.spec import Origin, Raw, Read, Record
from topics.telemetry import METRICS

START = 1_700_000_000_000


class Stream:
    """One entity's partition, a look a second, with whatever is put in between."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.decode, self.detect = Decode(), Detect()
        self.samples = itertools.count()

    def _take(self, values: Iterable[dict[str, object]]) -> list[Anomaly]:
        raws = [Raw(METRICS.name, 0, 0, b"db", orjson.dumps(value)) for value in values]
        return list(self.detect.step([*self.decode.step(chunk_of(raws), 0)], 0))

    def run(self, samples: int, shift: float = 0.0) -> list[Anomaly]:
        values = self.rng.normal([50 + shift * (n < 3) for n in range(8)], 2.0, (samples, 8)).tolist()
        return self._take(
            {"entity": "db", "ts": START + 1000 * sample, "metrics": {f"m{n}": row[n] for n in range(8)}}
            for sample, row in zip(itertools.islice(self.samples, samples), values, strict=True)
        )

    def control(self, learning: str, label: str = "confirmed") -> None:
        assert self._take([
            {"entity": "db", "ts": START, "learning": learning, "incident": "i", "label": label}
        ]) == []  # fmt: skip

    def restart(self) -> None:
        names, learned = self.decode.snapshot(), self.detect.snapshot()
        self.decode, self.detect = Decode(), Detect()
        self.decode.restore(names)
        self.detect.restore(learned)
        assert self.detect.snapshot() == learned


def raised(found: list[Anomaly]) -> int:
    """How many alarms are told."""
    return sum(a.state == "raised" and a.suppressed == "none" for a in found)


@pytest.mark.parametrize("seed", range(10))
def test_a_fault_that_lasted_long_is_caught_again_when_it_was_confirmed(seed: int) -> None:
    stream = Stream(seed)
    stream.run(400)
    assert raised(stream.run(10, shift=25)) == 1
    stream.control("open")
    stream.run(3000, shift=25)
    stream.restart()
    stream.control("close", "confirmed")
    assert [a.state for a in stream.run(60)][-1] == "cleared"
    stream.run(600)
    assert raised(stream.run(10, shift=25)) == 1


def test_a_learner_without_forks_has_taken_the_same_fault_for_ordinary() -> None:
    caught = 0
    for seed in range(10):
        stream = Stream(seed)
        stream.run(400)
        stream.run(3005, shift=25)
        stream.run(660)
        caught += raised(stream.run(10, shift=25))
    assert caught <= 3


@pytest.mark.parametrize("label", ["new_trend", "expected", "false_alarm"])
def test_what_was_expected_is_ordinary_from_its_label_on(label: Feedback) -> None:
    stream = Stream(1)
    stream.run(400)
    stream.run(5, shift=25)
    stream.control("open")
    stream.run(120, shift=25)
    stream.control("close", label)
    stream.run(20, shift=25)
    after = stream.run(600, shift=25)
    assert not after, [(a.state, a.score) for a in after]


def read(record: Record) -> Read[Record]:
    return Read(record, Origin("t", 0, 0))


def said(learn: Labeller, *records: Record) -> Iterator[Learning]:
    return learn.step([read(r) for r in records], 0)


def test_an_incident_forks_each_entity_once_and_its_end_confirms_the_fault() -> None:
    learn = Labeller()
    first = incident(state=State.TRIGGERED, affected=("shop/catalog/0", "shop/cart/0"))
    opened = [*said(learn, first, first)]
    assert [(c.learning, c.entity) for c in opened] == [
        ("open", e) for e in dict.fromkeys((first.entity, *first.affected))
    ]
    ended = incident(state=State.RESOLVED, affected=("shop/catalog/0", "shop/cart/0"))
    closed = [*said(learn, ended, ended)]
    assert [(c.learning, c.label) for c in closed] == [("close", "confirmed")] * len(opened)


def test_a_label_closes_at_once_and_the_incident_does_not_fork_again() -> None:
    learn = Labeller()
    going_on = incident(state=State.MITIGATING)
    assert [*said(learn, going_on)]
    label = Label(incident=going_on.id, entity=going_on.entity, label="expected", ts=1, by="ada")
    assert {(c.learning, c.label) for c in said(learn, label)} == {("close", "expected")}
    again = Labeller()
    again.restore(learn.snapshot())
    assert [*said(again, going_on)] == []
    assert [*said(again, incident(state=State.RESOLVED))] == []

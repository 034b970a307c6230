"""The live path from bytes to anomalies, on a small synthetic site sampled four times a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import orjson
import pytest

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from topics.signals import Anomaly
from topics.spec import Raw

START = 1_700_000_000_000
HISTORY, FAULT, AFTER = 200, 240, 40  # looks: 50 s, 60 s, 10 s
Metrics = dict[str, float]
Break = Callable[[Metrics, int, np.random.Generator], Metrics]


def ordinary(rng: np.random.Generator, scored_sample: int) -> Metrics:
    requests = max(1, int(rng.poisson(12)))
    took = np.sort(rng.gamma(4, 0.00125, size=requests))
    return {
        "up": 1.0,
        "up.refused": 0.0,
        "http.server.request.rate": float(requests),
        "http.server.error_ratio": rng.binomial(requests, 0.001) / requests,
        "http.client.error_ratio.store": rng.binomial(requests, 0.0005) / requests,
        "http.server.request.duration.p50": float(took[requests // 2]),
        "http.server.request.duration.p95": float(took[int(requests * 0.95)]),
        "http.server.active_requests": float(rng.poisson(0.3)),
        "http.server.utilization": float(np.clip(0.2 + 0.05 * rng.standard_normal(), 0, 1)),
        "process.memory.usage": 40e6 + 4096 * float(rng.integers(0, 400)),
        "process.cpu.utilization": float(np.clip(0.03 + 0.01 * rng.standard_normal(), 0, 1)),
        "service.replicas": 1.0,
        "process.uptime": scored_sample / 4,
    }


def dead(metrics: Metrics, scored_sample: int, rng: np.random.Generator) -> Metrics:
    return {"up": 0.0, "up.refused": 1.0}


def hung(metrics: Metrics, scored_sample: int, rng: np.random.Generator) -> Metrics:
    return {"up": 0.0, "up.refused": 0.0}


def slow(metrics: Metrics, scored_sample: int, rng: np.random.Generator) -> Metrics:
    return metrics | {
        "http.server.request.duration.p50": 0.14 + 0.01 * rng.random(),
        "http.server.request.duration.p95": 0.15 + 0.01 * rng.random(),
    }


def failing(metrics: Metrics, scored_sample: int, rng: np.random.Generator) -> Metrics:
    return metrics | {"http.server.error_ratio": float(np.clip(0.5 + 0.1 * rng.standard_normal(), 0, 1))}


def leaking(metrics: Metrics, scored_sample: int, rng: np.random.Generator) -> Metrics:
    return metrics | {"process.memory.usage": metrics["process.memory.usage"] + 2.5e6 * scored_sample}


def saturated(metrics: Metrics, scored_sample: int, rng: np.random.Generator) -> Metrics:
    return metrics | {"http.server.utilization": 1.0}


# fault → what it does, the metric that names it, and the look by which it must be seen
FAULTS: dict[str, tuple[Break, str, int]] = {
    "kill": (dead, "up", 2),
    "hang": (hung, "up", 2),
    "slow": (slow, "http.server.request.duration.p", 4),
    "errors": (failing, "http.server.error_ratio", 4),
    "leak": (leaking, "process.memory.usage", 9),  # 2.5 MB a look: worth a word from about the third on
    "surge": (saturated, "http.server.utilization", 7),
}


def records(seed: int, scored: int, broken: Break | None = None) -> Iterator[Raw]:
    rng = np.random.default_rng(seed)
    for scored_sample in range(scored):
        metrics = ordinary(rng, scored_sample)
        if broken is not None and HISTORY <= scored_sample < HISTORY + FAULT:
            metrics = broken(metrics, scored_sample - HISTORY + 1, rng)
        ts = START + 250 * scored_sample
        value = orjson.dumps({"entity": "shop/catalog/0", "ts": ts, "metrics": metrics})
        yield Raw("opsloop.telemetry.metrics", 0, scored_sample, b"shop/catalog/0", value, (), ts)


def told(raws: list[Raw], cut: int = 1, detect: Detect | None = None, decode: Decode | None = None) -> list[Anomaly]:
    decode, detect = decode or Decode(), detect or Detect()
    found: list[Anomaly] = []
    for at in range(0, len(raws), cut):
        found += detect.step([*decode.step(chunk_of(raws[at : at + cut]), 0)], 0)
    return found


def scored_of(anomaly: Anomaly) -> int:
    return (anomaly.ts - START) // 250


def with_incident(raws: list[Raw], opened: int) -> list[Raw]:
    """The records with an incident that opens after this look."""
    said = {"entity": "shop/catalog/0", "ts": START + 250 * opened, "learning": "open", "incident": "i"}
    control = Raw("opsloop.telemetry.metrics", 0, opened, b"shop/catalog/0", orjson.dumps(said))
    return [*raws[: opened + 1], control, *raws[opened + 1 :]]


def of_bank(anomalies: list[Anomaly]) -> list[Anomaly]:
    return [a for a in anomalies if a.detector == "bank"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_raised_at_once_by_what_shows_it_and_no_alarm_stays(fault: str, seed: int) -> None:
    broken, metric, by = FAULTS[fault]
    anomalies = of_bank(told([*records(seed, HISTORY + FAULT + AFTER, broken)]))
    first = next(a for a in anomalies if scored_of(a) >= HISTORY and a.suppressed == "none")
    assert first.state == "raised"
    assert scored_of(first) < HISTORY + by
    assert first.attribution
    assert first.attribution[0].metric.startswith(metric)
    assert anomalies[-1].state == "cleared", "an alarm ends by itself"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("fault", "known"), [("kill", 17), ("hang", 17), ("slow", 30), ("errors", 100)])
def test_a_young_entity_is_told_at_once_by_what_is_known_by_its_name(fault: str, known: int, seed: int) -> None:
    broken, metric, _ = FAULTS[fault]
    raws = [*records(seed, HISTORY + 10, broken)][HISTORY - known :]
    first = next(a for a in of_bank(told(raws)) if scored_of(a) >= HISTORY)
    assert (first.state, first.suppressed, scored_of(first)) == ("raised", "none", HISTORY)
    assert first.metric.startswith(metric)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fault", FAULTS)
def test_while_an_incident_is_open_a_fault_is_told_until_it_is_cured(fault: str, seed: int) -> None:
    broken, _, by = FAULTS[fault]
    raws = [*records(seed, HISTORY + FAULT + AFTER, broken)]
    anomalies = of_bank(told(with_incident(raws, HISTORY + by)))
    during = [a for a in anomalies if HISTORY <= scored_of(a) < HISTORY + FAULT]
    assert during[0].state == "raised"
    assert during[-1].state != "cleared"
    assert scored_of(during[-1]) == HISTORY + FAULT - 1
    assert anomalies[-1].state == "cleared"
    assert scored_of(anomalies[-1]) < HISTORY + FAULT + 20


@pytest.mark.parametrize("fault", FAULTS)
def test_an_alarm_becomes_a_trend_when_it_moves_on_and_a_change_point_when_it_stays(fault: str) -> None:
    """While an incident is open; else its level is soon usual."""
    broken, _, by = FAULTS[fault]
    anomalies = of_bank(told(with_incident([*records(1, HISTORY + FAULT, broken)], HISTORY + by), cut=50))
    kinds = {scored_of(a) - HISTORY: a.kind for a in anomalies}
    assert kinds[10] == "point"
    assert kinds[30] == ("trend" if fault == "leak" else "point")
    assert kinds[100] == kinds[FAULT - 1] == ("trend" if fault == "leak" else "change_point")


@pytest.mark.parametrize("seed", range(3))
def test_a_new_entity_is_judged_from_its_thirtieth_look_on_where_names_say_what_its_series_are(seed: int) -> None:
    """Requests take 30 times as long: by the name of the duration a fault, by thirty looks alone perhaps usual."""
    named = [*records(seed, HISTORY + 20, slow)][HISTORY - 30 :]
    unnamed = []
    for sent in named:
        sample = orjson.loads(sent.value or b"")
        sample["metrics"] = {f"x{at}": value for at, value in enumerate(sample["metrics"].values())}
        unnamed.append(dataclasses.replace(sent, value=orjson.dumps(sample)))
    raised = [[scored_of(a) for a in told(each, cut=100) if a.state == "raised"] for each in (named, unnamed)]
    assert raised == [[HISTORY], []]


def test_an_ordinary_site_alarms_less_than_once_an_entity_and_five_minutes() -> None:
    alarms = [a for seed in range(6) for a in told([*records(100 + seed, 1200)], cut=50) if a.state == "raised"]
    assert len(alarms) < 6, [(a.metric, a.score) for a in alarms]


def test_scores_do_not_depend_on_how_the_stream_is_cut() -> None:
    raws = [*records(3, HISTORY + FAULT + 2 * AFTER, slow)]  # an alarm begins and ends within the largest cut
    assert told(raws, cut=1) == told(raws, cut=7) == told(raws, cut=len(raws))


def test_a_restored_learner_goes_on_as_if_nothing_had_happened() -> None:
    raws = [*records(4, 200, failing)]
    decode, detect = Decode(), Detect()
    before = told(raws[:90], detect=detect, decode=decode)
    names, learned = decode.snapshot(), detect.snapshot()
    decode, detect = Decode(), Detect()
    decode.restore(names)
    detect.restore(learned)
    assert detect.snapshot() == learned
    assert [*before, *told(raws[90:], detect=detect, decode=decode)] == told(raws)


def test_a_restored_learner_of_one_series_goes_on_too() -> None:
    values = np.random.default_rng(6).normal(10, 1, 400)
    values[300:] += 50
    raws = [
        Raw(
            "opsloop.telemetry.metrics",
            0,
            at,
            b"",
            orjson.dumps({"entity": "e", "ts": START + at, "metrics": {"m": v}}),
        )
        for at, v in enumerate(values.tolist())
    ]
    decode, detect = Decode(), Detect()
    before = told(raws[:290], detect=detect, decode=decode)
    names, learned = decode.snapshot(), detect.snapshot()
    decode, detect = Decode(), Detect()
    decode.restore(names)
    detect.restore(learned)
    assert detect.snapshot() == learned
    assert [*before, *told(raws[290:], detect=detect, decode=decode)] == told(raws)
    assert any(a.state == "raised" and a.ts == START + 300 for a in told(raws))


def test_a_sample_that_comes_again_or_late_changes_nothing() -> None:
    raws = [*records(5, 120)]
    again = [*raws[:80], raws[79], raws[60], *raws[80:]]
    one, two = Detect(), Detect()
    told(raws, detect=one)
    told(again, cut=30, detect=two)
    assert one.snapshot() == two.snapshot()


def test_a_state_does_not_tell_how_many_entities_came_at_once() -> None:
    values = [orjson.dumps({"entity": f"e{at}", "ts": START, "metrics": {"a": 1.0, "b": 2.0}}) for at in range(150)]
    raws = [Raw("t", 0, at, b"k", value, (), START) for at, value in enumerate(values)]

    def state(step: int) -> bytes:
        decode, detect = Decode(), Detect()
        for first in range(0, len(raws), step):
            list(detect.step(list(decode.step(chunk_of(raws[first : first + step]), 0)), 0))
        return detect.snapshot()

    assert state(150) == state(70) == state(1)

"""What every detector beside the bank keeps to; a new one costs no new test."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from app.offline.conformance.detectors import FEATURES, PROMISES, Site
from app.offline.conformance.promises import Promise, broken
from models.detection import members
from models.detection.base import WHOLE, Detector, StateError
from models.detection.entity_detectors import EntityDetectors, revived
from models.detection.members import MEMBERS, Member, member
from models.detection.settings import DetectionSettings, Pattern
from tests.telemetry import raw
from topics.batch import Float64


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.text)
@pytest.mark.parametrize("name", MEMBERS)
def test_a_shipped_detector_keeps_each_promise(name: Member, promise: Promise[type[Detector]]) -> None:
    promise.check(member(name))


class Farthest(Detector):
    """A sound detector of another package: how far the farthest feature is off, beside a mean of that."""

    name = "farthest"
    version = 1
    kind = "point"
    mean = 0.0

    def observe(self, x: Float64, learn: bool) -> tuple[float, int]:
        away = np.abs(np.nan_to_num(x))
        place = int(away.argmax())
        if learn:
            self.mean += 0.01 * (float(away[place]) - self.mean)
        return max(float(away[place]) - self.mean, 0.0), place

    def dump(self) -> bytes:
        return msgspec.json.encode([self.name, self.mean])

    def load(self, state: bytes) -> None:
        try:
            name, mean = msgspec.json.decode(state, type=tuple[str, float], strict=True)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StateError(str(error)) from None
        if name != self.name or not math.isfinite(mean):
            raise StateError(f"{name} is not {self.name}")
        self.mean = mean


class Unnamed(Farthest):
    kind = "mood"  # type: ignore[assignment]


class Drawn(Farthest):
    def observe(self, x: Float64, learn: bool) -> tuple[float, int]:
        score, place = super().observe(x, learn)
        return score + float(np.random.default_rng().random()), place


class Forgetful(Farthest):
    def load(self, state: bytes) -> None:
        super().load(state)
        self.mean = 0.0


class Greedy(Farthest):
    def observe(self, x: Float64, learn: bool) -> tuple[float, int]:
        return super().observe(x, True)


class Meddling(Farthest):
    def observe(self, x: Float64, learn: bool) -> tuple[float, int]:
        found = super().observe(x, learn)
        x[0] = 0.0
        return found


class Endless(Farthest):
    def observe(self, x: Float64, learn: bool) -> tuple[float, int]:
        score, place = super().observe(x, learn)
        return (math.inf if np.isnan(x).all() else score), place


class Narrow(Farthest):
    def observe(self, x: Float64, learn: bool) -> tuple[float, int]:
        score, _ = super().observe(x, learn)
        return score, 1


class Trusting(Farthest):
    def load(self, state: bytes) -> None:
        try:
            super().load(state)
        except StateError:
            self.mean = 0.0


class Careless(Farthest):
    def load(self, state: bytes) -> None:
        _, self.mean = msgspec.json.decode(state)


class Blind(Farthest):
    def observe(self, x: Float64, learn: bool) -> tuple[float, int]:
        super().observe(x, learn)
        return 0.0, WHOLE


@pytest.fixture(autouse=True)
def members_as_they_were() -> Iterator[None]:
    yield
    members.add([])


def test_a_sound_detector_of_another_package_keeps_all_of_them() -> None:
    members.add([Farthest])
    assert [fault for _, fault in broken(PROMISES, Farthest) if fault] == []


@pytest.mark.parametrize(
    ("kind", "number"),
    [(Unnamed, 0), (Drawn, 1), (Forgetful, 2), (Greedy, 3), (Meddling, 4), (Endless, 5), (Narrow, 6), (Trusting, 7),
     (Careless, 8), (Blind, 9)],
)  # fmt: skip
def test_a_detector_that_breaks_a_promise_is_told_which(kind: type[Detector], number: int) -> None:
    members.add([kind])
    text, fault = next(broken(PROMISES[number : number + 1], kind))
    assert text == PROMISES[number].text
    assert fault


def test_what_all_of_them_say_depends_neither_on_batches_nor_on_restarts() -> None:
    site = Site(*MEMBERS)
    raws = site.raws(900, 700, 30.0)
    expected = site.told(raws)
    assert {a.detector for a in expected} >= {"bank", "half_space_trees", "page_hinkley"}
    assert site.told(raws, cut=900) == expected
    assert site.told(raws, cut=90, restart=True) == expected


def test_entities_that_no_pattern_names_have_the_bank_alone() -> None:
    site = Site(*MEMBERS)
    site.settings = DetectionSettings((Pattern(entities="other/*", learners=("gaussian",)),))
    assert {a.view for a in site.told(site.raws(700, 600, 30.0))} == {"first"}


def test_no_more_entities_are_watched_than_settings_allow() -> None:
    decode = Decode()
    detect = Detect(DetectionSettings((Pattern(learners=("gaussian", "adwin")),), most_watched=3))
    raws = [raw(number, f"shop/{number}", {"a": 1.0}) for number in range(10)]
    assert [*detect.step([*decode.step(chunk_of(raws), 0)], 0)] == []
    assert len({entity for entity, _ in detect.model.detectors.watches}) == 3
    assert detect.model.detectors.left_out == 7


def test_a_watch_that_is_not_finite_begins_anew_and_is_never_written() -> None:
    watch = EntityDetectors("gaussian", FEATURES)
    watch.observe(1, dict.fromkeys(FEATURES, 1.0), forked=False)
    kept = watch.dump(0)
    watch.scale[0, 1] = math.inf
    with pytest.raises(StateError):
        watch.dump(0)
    with pytest.raises(StateError):
        revived(msgspec.structs.replace(kept, scale=watch.scale.tobytes()))
    with pytest.raises(StateError):
        revived(msgspec.structs.replace(kept, version=99))
    assert revived(kept).dump(0) == kept


def test_state_of_a_detector_that_is_no_longer_installed_begins_anew() -> None:
    members.add([Farthest])
    kept = EntityDetectors("farthest", FEATURES).dump(0)
    members.add([])
    with pytest.raises(StateError, match="farthest of version 1 is not known here"):
        revived(kept)


class Failing(Farthest):
    """Raises over each hundredth sample, gives places that do not exist, and cannot be written or read back."""

    name = "failing"
    seen = 0

    def observe(self, x: Float64, learn: bool) -> tuple[float, int]:
        self.seen += 1
        if self.seen % 100 == 0:
            raise SystemError("one in a hundred")
        return 0.1 * (self.seen % 7), 99

    def dump(self) -> bytes:
        if self.seen % 2:
            raise KeyError("state")
        return b"{"

    def load(self, state: bytes) -> None:
        raise SystemError("never")


def test_a_detector_of_another_package_that_raises_costs_nobody_else_anything() -> None:
    site = Site("gaussian")
    raws = site.raws(700, 600, 30.0)
    expected = site.told(raws)
    assert {anomaly.detector for anomaly in expected} == {"bank", "gaussian"}
    members.add([Failing])
    beside = Site("failing", "gaussian")
    found = [anomaly for anomaly in beside.told(raws, cut=50) if anomaly.detector != "failing"]
    assert found == expected
    decode, detect, told = Decode(), Detect(beside.settings), set()
    for begin in range(0, 700, 7):
        told |= {anomaly.detector for anomaly in detect.step([*decode.step(chunk_of(raws[begin : begin + 7]), 0)], 0)}
        detect.restore(detect.snapshot())
    assert told >= {"bank", "gaussian"}


def test_an_error_of_a_shipped_detector_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise SystemError("ours")

    monkeypatch.setattr(member("gaussian"), "observe", fail)
    with pytest.raises(SystemError, match="ours"):
        Site("gaussian").told(Site("gaussian").raws(200, 150, 0.0))

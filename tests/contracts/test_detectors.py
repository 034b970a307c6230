"""What every detector beside the bank keeps to; a new one costs no new test."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from models.detection.base import Detector, StateError
from models.detection.entity_detectors import FARTHEST, EntityDetectors, revived
from models.detection.members import MEMBERS, Member, member
from models.detection.settings import DetectionSettings, Pattern
from tests.telemetry import at, raw
from topics.signals import Anomaly
from topics.spec import Raw

FEATURES = ("cpu", "disk", "latency", "load", "memory")
every_member = pytest.mark.parametrize("name", MEMBERS)


def ordinary(seed: int, scored: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 1.0, (scored, len(FEATURES)))


def fed(name: Member, scored: int = 600, seed: int = 1) -> Detector:
    detector = member(name)(FEATURES)
    for x in ordinary(seed, scored):
        detector.observe(x, True)
    return detector


@every_member
def test_its_state_as_bytes_gives_equal_scores_for_the_next_300_looks(name: Member) -> None:
    one = fed(name)
    two = member(name)(FEATURES)
    two.load(one.dump())
    assert two.dump() == one.dump()
    scored = ordinary(2, 300)
    scored[100:, 1] += 4.0
    scored[::7, 2] = math.nan
    assert [one.observe(x, True) for x in scored] == [two.observe(x, True) for x in scored]
    assert two.dump() == one.dump()


@every_member
def test_a_look_that_is_not_learned_leaves_no_trace(name: Member) -> None:
    detector = fed(name)
    before = detector.dump()
    for x in ordinary(3, 300) * 5.0:
        detector.observe(np.clip(x, -FARTHEST, FARTHEST), False)
    assert detector.dump() == before


@every_member
def test_scores_and_state_stay_finite_and_bounded_whatever_comes(name: Member) -> None:
    detector = fed(name)
    rng = np.random.default_rng(4)
    size = len(detector.dump())
    for number in range(3_000):
        x = rng.choice([0.0, -FARTHEST, FARTHEST, math.nan, 1e-300], len(FEATURES))
        score, place = detector.observe(x, True)
        assert math.isfinite(score)
        assert score >= 0.0
        assert -1 <= place < len(FEATURES)
        if number % 1000 == 0:
            detector.dump()
    assert len(detector.dump()) <= 2 * size + 20_000


@every_member
def test_the_state_of_another_is_refused(name: Member) -> None:
    detector = member(name)(FEATURES)
    for other in MEMBERS:
        if other != name:
            with pytest.raises(StateError):
                detector.load(fed(other, 40).dump())


@every_member
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_damaged_bytes_are_refused_or_are_a_sound_state(name: Member, data: st.DataObject) -> None:
    good = bytearray(fed(name, 40).dump())
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    detector = member(name)(FEATURES)
    try:
        detector.load(bytes(good[: data.draw(st.integers(0, len(good)))]) if data.draw(st.booleans()) else bytes(good))
    except StateError:
        return
    detector.dump()


class Site:
    """One entity of eight metrics, a look a second."""

    def __init__(self, *names: Member) -> None:
        self.settings = DetectionSettings((Pattern(entities="shop/*", learners=names),))

    def raws(self, scored: int, shift_from: int, shift: float, seed: int = 5) -> list[Raw]:
        rng = np.random.default_rng(seed)
        return [
            raw(scored_sample, "shop/db", {
                f"m{n}": float(rng.normal(50 + shift * (scored_sample >= shift_from and n < 4), 2)) for n in range(8)
            }) for scored_sample in range(scored)
        ]  # fmt: skip

    def told(self, raws: list[Raw], cut: int = 50, restart: bool = False) -> list[Anomaly]:
        decode, detect = Decode(), Detect(self.settings)
        found: list[Anomaly] = []
        for begin in range(0, len(raws), cut):
            found += detect.step([*decode.step(chunk_of(raws[begin : begin + cut]), 0)], 0)
            if restart:
                again = Decode(), Detect(self.settings)
                again[0].restore(decode.snapshot())
                again[1].restore(detect.snapshot())
                assert again[1].snapshot() == detect.snapshot()
                decode, detect = again
        return found


@every_member
def test_settings_choose_it_and_what_it_sees_is_told_under_its_own_name(name: Member) -> None:
    site = Site(name)
    told = [a for a in site.told(site.raws(1_100, 900, 30.0)) if a.view == "second"]
    raised = [a for a in told if a.state == "raised"]
    late = [a for a in raised if a.ts >= at(900)]
    assert late, told
    first = late[0]
    assert (first.detector, first.detector_version, first.kind) == (name, member(name).version, member(name).kind)
    assert first.ts < at(960)
    assert first.attribution
    assert first.attribution[0].metric in {"m0", "m1", "m2", "m3"}
    assert first.score >= 1.0
    assert len(raised) - len(late) <= 2, "an ordinary quarter of an hour is quiet"


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

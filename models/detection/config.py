"""The constants of the detector bank."""

from __future__ import annotations

from typing import NamedTuple


class DetectorConfig(NamedTuple):
    """The constants, chosen on some machines of real data and reported on others: app/bench/detection.py."""

    memory: float = 1e-4  # slowest rate of learning: 1/n falls to this
    winsor: float = 4.0  # what is learned is clipped at so many spreads
    warm: float = 32.0  # samples of a series before learning is clipped so
    loose: float = 10.0  # and how it is before, from the first few on
    settled: float = 160.0  # samples from which the clip is at its widest: winsor^2 / pull
    pull: float = 0.1  # most that one sample may add to a variance, as a share: a young series is clipped harder
    young: float = 8.0  # z is 0 up to n = young, then shrunk by 1 - young / n: few samples say little of a spread
    floor: float = 0.003  # least spread, as a share of the largest value learned ...
    least_spread: float = 0.001  # ... and on top of it: a thousandth of a second, of a share
    short: float = 1 / 16  # rate of the short average
    near: float = 0.5  # rate at which the recent level follows, and within it the slope
    ordinary: float = 2.0  # |z| of level and short average that every series wanders through, taken off
    cap: float = 100.0  # largest |z| that counts for an entity
    strong: float = 1 / 3  # weight of the plain mean against the geometric one
    tail: float = 0.98  # quantile of a series' |z| that is its tail; taken to be 3 at least
    smooth: float = 0.2  # rate at which an entity's score follows
    plain: float = 3.0  # a score so many times the boundary is an alarm at once
    usual: float = 0.98  # quantile of an entity's log score where its tail begins
    surprise: float = 2.0  # the boundary, in mean lengths of that tail beyond it
    least: float = 2.0  # no boundary is lower
    wary: float = 0.8  # each alarm raises the boundary by this share ...
    forget: float = 0.005  # ... which fades at this rate a sample: the budget of an entity that cries often
    settle: float = 0.4  # an alarm ends when the score stays below this share of the boundary ...
    quiet: float = 1.25  # ... or below this, which is ordinary for every entity ...
    calm: float = 8.0  # ... for so many samples
    doubt: float = 2.0  # score from which an entity is learned more slowly
    far: float = 3.0  # spreads off the mean from which nothing is learned while an alarm is young
    hold_samples: float = 500.0
    hold_ms: float = 120_000.0
    repeat_ms: float = 200.0  # an alarm that is on is told again at most so often


def narrowed(config: DetectorConfig) -> DetectorConfig:
    """The constants for an entity with one series: it is followed quickly."""
    return config._replace(winsor=40.0, short=1 / 8, near=0.8)

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
    wider: float = 2.0  # the clip of what is learned of a spread, in those of a mean
    reach: float = 3.0  # and of the short memory
    steps: float = 2.5  # and of steps
    gross: float = 0.04  # share that is learned at least: many rare jumps are not strange for ever
    most_gross: float = 60.0  # ... but no more than so many spreads, or one wild value would blind it
    fast_memory: float = 1e-2  # slowest rate of the short memory
    step_memory: float = 1e-3  # and of the size of steps
    still: float = 0.01  # spreads of a step below which it is none: what is left of an earlier one is smaller
    moved: float = 1e-3  # a series that has moved has a variance of more than so much of its least
    unmoved: float = 0.01  # weight beyond `cap` of how far off one is that never has
    pull: float = 0.1  # most that one sample may add to a variance, as a share: a young series is clipped harder
    young: float = 8.0  # z is 0 up to n = young, then shrunk by 1 - young / n: few samples say little of a spread
    floor: float = 0.002  # least spread, as a share of the largest value learned ...
    least_spread: float = 0.001  # ... and on top of it: a thousandth of a second, of a share
    short: float = 1 / 16  # rate of the short average
    near: float = 0.5  # rate at which the recent level follows, and within it the slope
    ordinary: float = 2.0  # |z| of level and short average that every series wanders through, taken off
    cap: float = 100.0  # largest |z| that counts for an entity
    tail: float = 0.98  # quantile of a series' |z| that is its tail; taken to be 3 at least
    smooth: float = 0.2  # rate at which an entity's score follows
    usual: float = 0.98  # quantile of an entity's log score where its tail begins
    broad_smooth: float = 0.25  # rate at which the broad path's score follows
    broad_units: float = 2.2  # its boundary, in mean lengths of its tail beyond where that begins ...
    broad_rarer: float = 0.75  # ... and what each e-fold of fewer false alarms adds to it
    narrow_smooth: float = 0.5  # the same of the narrow path, whose log follows
    narrow_units: float = 5.7
    narrow_rarer: float = 1.0
    least_log: float = 0.9  # no boundary of a log score is lower ...
    most_log: float = 2.7  # ... and none is higher
    budget: float = 1.0  # false alarms a week
    green: float = 35.0  # a tail known by so many samples is taken to be twice as long
    fewer: float = 100.0  # samples by which it is believed at first that a tail is as long as others are
    alone: float = 2.2  # tails of its own at which a series that is trusted alone is an alarm, smoothed ...
    alone_smooth: float = 0.2  # ... at this rate ...
    at_once: float = 6.0  # ... and not
    alone_rarer: float = 0.25  # what each e-fold of fewer false alarms adds to `alone`: 1 / -ln(1 - tail)
    alone_green: float = 40.0  # a tail of its own known by so many samples is taken to be twice as long
    extreme: float = 1000.0  # spreads off at which one series alone is an alarm
    close: float = 0.85  # an alarm ends when it has been below this share of the boundary ...
    calm: float = 8.0  # ... for so many samples
    linger: float = 0.7  # log of how far beyond its boundary a smoothed score is at most, from which it falls
    learned: float = 64.0  # samples of an entity up to which only a series alone is an alarm
    again: float = 1.0  # after the log score has fallen by so much and risen by so much again, another alarm begins ...
    again_samples: float = 32.0  # ... if so many samples have passed
    on_weight: float = 0.1  # what a sample teaches the tails while an alarm is on ...
    on_share: float = 0.05  # ... and more, once alarms are on for more than this share of the time
    far: float = 3.0  # spreads from which a series that never moved does, and what is not learned in a young alarm
    hold_ms: float = 120_000.0  # time for which an alarm is young: somebody may open an incident
    hold_samples: float = 500.0  # after a confirmed fault nothing is learned for so many, unless its alarm ends before
    repeat_ms: float = 200.0  # an alarm that is on is told again at most so often


def narrowed(config: DetectorConfig) -> DetectorConfig:
    """The constants for an entity with one series: it is followed quickly."""
    return config._replace(
        winsor=40.0, wider=1.0, steps=1.0, step_memory=config.memory, floor=0.003,
        short=1 / 8, near=0.8,
    )  # fmt: skip

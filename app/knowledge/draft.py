"""Drafts a pack from series that were seen: what their names and units say, for a person to correct."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from models.knowledge.base import Pack
from models.knowledge.knowledge import patterns
from topics.selectors import matches, parts

GROWING: Final = ("_total", "_sum", "_count", "_bucket")


class Guess(NamedTuple):
    """What the words in a series' name suggest."""

    symptom: str
    words: tuple[str, ...]  # of which one must be in the name
    condition: str  # what follows `signal = …`


ERRORS: Final = Guess(
    "errors", ("error", "errors", "failed", "failures", "exceptions", "rejected", "timeouts", "dropped"),
    'off = "up", least = 0.1, periods = 3',
)  # fmt: skip
LATENCY: Final = Guess("latency", ("latency", "duration", "delay"), 'off = "up", ratio = 1.0, periods = 4')
# the first that fits counts
GUESSES: Final = (
    Guess("down", ("up", "alive", "healthy", "success"), 'off = "down", least = 0.5, periods = 2'),
    ERRORS,
    LATENCY,
    Guess("queue_grows", ("queue", "queued", "backlog", "pending", "lag"),
          'off = "up", least = 10.0, ratio = 2.0, periods = 4'),
    Guess("memory", ("memory", "heap", "rss"), 'off = "up", least = 16e6, ratio = 0.25, periods = 5'),
    Guess("saturation", ("utilization", "busy", "used", "active", "ratio"), 'off = "up", ratio = 0.5, periods = 4'),
)  # fmt: skip


def drafted(name: str, seen: Mapping[str, Iterable[str]], known: Iterable[Pack]) -> str:
    """The text of a pack for the series that no known pack names. seen: series by entity.

    Symptoms stand for what a name suggests; every other series is listed in a comment.
    """
    taken = [pattern for pack in known for _, pattern in patterns(pack)]
    series = sorted({one for all_ in seen.values() for one in all_})
    families: dict[str, str] = {}  # the name of each series without attributes → an example
    for one in series:
        rated = f"rate({one})"
        if not any(matches(pattern, one) or matches(pattern, rated) for pattern in taken):
            families.setdefault(parts(one).name, one)
    means = {family.removesuffix("_sum") for family in families if _has_mean(family, families)}
    found, others = [(LATENCY, _mean(stem)) for stem in sorted(means)], []
    for family in families:
        guess = _guess(family)
        if any(family in (f"{stem}_sum", f"{stem}_count", f"{stem}_bucket") for stem in means):
            continue
        if guess is None or (family.endswith(GROWING) and guess is not ERRORS):
            others.append(family)
        else:
            found.append((guess, f"rate({family})" if family.endswith(GROWING) else family))
    lines = [
        f"# A draft from {len(series)} series of {len(seen)} entities.",
        "# Correct what is wrong, and leave out what is not worth an incident.",
        "", "[pack]", f'name = "{name}"', f'kind = "{name}"', f"entities = [{_listed(_globs(seen))}]",
    ]  # fmt: skip
    for stem in sorted(means):
        lines += ["", "[[signals]]", f'name = "{_mean(stem)}"', f'is = "rate({stem}_sum) / rate({stem}_count)"']
    for guess, signal in found:
        lines += ["", "[[symptoms]]", f'name = "{guess.symptom}"',
                  f"when = [{{ signal = '{signal}', {guess.condition} }}]"]  # fmt: skip
    if others:
        lines += ["", "# of these their names say nothing:", *(f"#   {family}" for family in others)]
    return "\n".join(lines) + "\n"


def _guess(family: str) -> Guess | None:
    words = set(family.replace(".", "_").lower().split("_"))
    return next((guess for guess in GUESSES if words.intersection(guess.words)), None)


def _has_mean(family: str, families: Mapping[str, str]) -> bool:
    """Whether a family is the sum of a histogram or summary of times."""
    stem = family.removesuffix("_sum")
    timed = stem.endswith("_seconds") or _guess(stem) is LATENCY
    return family.endswith("_sum") and f"{stem}_count" in families and timed


def _mean(stem: str) -> str:
    return f"{stem.replace('_', '.')}.mean"


def _globs(seen: Mapping[str, object]) -> list[str]:
    """Globs over the entities: a service's instances are one."""
    return sorted({"/".join([*entity.split("/")[:2], "*"]) if entity.count("/") > 1 else entity for entity in seen})


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(f'"{text}"' for text in texts)

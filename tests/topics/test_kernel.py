"""Kernels that were compiled earlier are used again only while nothing that is compiled into them has changed.

And they do what the plain functions do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, cast

import numba
import pytest

from models.detection import bank, points
from topics.formats import texts
from topics.kernel import stamp

LEAST = 2.0


def inner(value: float) -> float:
    return value * 3.0


def outer(value: float) -> float:
    return max(inner(value), LEAST)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_what_is_compiled_is_kept_under_the_stamp_of_all_that_is_in_it() -> None:
    kernels = cast("list[Any]", [bank.take, points.take_values, texts.read])
    assert [each._cache._cache_file._source_stamp for each in kernels] == [stamp(each) for each in kernels]


def test_a_change_in_a_kernel_that_is_called_or_in_a_constant_changes_the_stamp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = stamp(outer)
    assert stamp(outer) == before != stamp(inner)
    monkeypatch.setitem(globals(), "LEAST", 2.5)
    constant = stamp(outer)
    monkeypatch.setitem(globals(), "inner", lambda value: value * 4.0)
    assert len({before, constant, stamp(outer)}) == 3


class Pair(NamedTuple):
    left: float
    right: float


def first_of(pair: Pair) -> float:
    return pair.left


def test_fields_in_another_order_change_the_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stamp(first_of)
    monkeypatch.setitem(globals(), "Pair", NamedTuple("Pair", [("right", float), ("left", float)]))
    assert stamp(first_of) != before


WITHOUT = """
import hashlib
from agents.decode import Decode, chunk_of
from agents.detect import Detect
from topics.spec import Raw

def text(look, at):
    values = ",".join(f'"m{m}":{50 + (7 * look + 3 * m + at) % 5}.{look % 10}' for m in range(3 + 4 * at))
    return f'{{"entity":"shop/web/{at}","ts":{1_700_000_000_000 + 1000 * look},"metrics":{{{values}}}}}'.encode()

decode, detect, said = Decode(), Detect(), hashlib.blake2b()
for look in range(12):
    raws = [Raw("telemetry.metrics", 0, 3 * look + at, b"", text(look, at), (), 1_700_000_100_000) for at in range(3)]
    batches = list(decode.step(chunk_of(raws), 0))
    assert [len(batch) for batch in batches] == [3], batches
    list(detect.step(batches, 0))
said.update(detect.snapshot())
print(said.hexdigest())
"""


def test_messages_without_the_compiler_are_the_same_bits() -> None:
    def said(environment: dict[str, str]) -> str:
        path = {"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", WITHOUT]
        return subprocess.run(
            command, check=True, env=path | environment, timeout=100, capture_output=True, text=True
        ).stdout

    assert said({"NUMBA_DISABLE_JIT": "1"}) == said({"HOME": os.environ.get("HOME", "")})

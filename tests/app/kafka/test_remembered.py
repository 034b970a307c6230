"""The address of the last `kafka up`: read when nobody names a broker, and never trusted to be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.options import broker_of
from app.connection import DEFAULT
from app.kafka.remembered import NAME, forget, remember, remembered


@pytest.fixture(autouse=True)
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPSLOOP_BROKER", raising=False)


def test_what_kafka_up_started_is_used_when_nobody_names_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert broker_of("").bootstrap == DEFAULT
    remember("127.0.0.1:19092")
    assert broker_of("").bootstrap == "127.0.0.1:19092"
    monkeypatch.setenv("OPSLOOP_BROKER", "elsewhere:9092")
    assert broker_of("").bootstrap == "elsewhere:9092"
    assert broker_of("named:1").bootstrap == "named:1"


def test_only_its_own_address_is_forgotten() -> None:
    remember("127.0.0.1:19092,127.0.0.1:19093")
    forget("127.0.0.1:9092")
    assert remembered() == "127.0.0.1:19092,127.0.0.1:19093"
    forget("127.0.0.1:19092,127.0.0.1:19093")
    assert remembered() == ""


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", b"a:1\nb:2", b"host:1; rm"], ids=repr)
def test_a_file_that_holds_no_address_is_as_good_as_none(home: Path, content: bytes) -> None:
    (home / NAME).write_bytes(content)
    assert remembered() == ""
    assert broker_of("").bootstrap == DEFAULT

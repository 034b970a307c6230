"""How long the index keeps what it holds: by age, by number and by bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from app.clock import now_ms
from app.history import indexer
from app.history.bounds import prune
from app.history.schema import opened, transaction
from app.history.settings import HistorySettings
from app.history.view import INDEXED, View, current
from app.kafka import places
from app.kafka.broker import Broker
from app.kafka.embedded import Embedded
from tests.builders import CATALOG, NOW, incident, sample
from tests.histories import write
from topics.incidents import INCIDENTS
from topics.settings import SETTINGS, Setting
from topics.spec import DAY_MS


def file(home: Path) -> Path:
    (found,) = (home / "history").glob("*.db")
    return found


def kept_after(home: Path, broker: Broker, settings: HistorySettings, topics: Any = INDEXED) -> Any:
    with opened(home / "bounded.db") as database:
        indexer.update(database, broker, topics, settings)
        with transaction(database):
            prune(database, settings, now_ms())
        return View(database).kept(), View(database).newest(INCIDENTS), View(database).recorded([SETTINGS])


def test_rows_beyond_their_age_are_dropped_but_live_settings_stay(embedded: Embedded, home: Path) -> None:
    old = now_ms() - 3 * DAY_MS
    switch = Setting(name="kill_switch", value="on", ts=1, by="ana")
    answer = Setting(name="incident/old", value="resolved", ts=1, by="ana")
    write(embedded.broker, [incident(id="old"), sample("shop/old/0", NOW), switch, answer], arrived=old)
    write(embedded.broker, [incident(id="new"), sample("shop/new/0", NOW)])
    with opened(home / "bounded.db") as database:
        indexer.update(database, embedded.broker, INDEXED, HistorySettings())
        assert View(database).kept().records == 4
    with opened(home / "bounded.db") as database, transaction(database):
        prune(database, HistorySettings(days=2), now_ms())
    with opened(home / "bounded.db") as database:
        found = View(database)
        assert [r.id for r in found.newest(INCIDENTS)] == ["new"]  # type: ignore[attr-defined]
        assert [read.record for read in found.recorded([SETTINGS])] == [switch]
        assert set(found.entities()) == {CATALOG, "shop/new/0"}
        assert found.kept().anomalies == 1


def test_rows_beyond_their_number_are_dropped_oldest_first(embedded: Embedded, home: Path) -> None:
    write(embedded.broker, [incident(id=f"i{n:03}", onset=NOW + n) for n in range(300)])
    kept, incidents, _ = kept_after(home, embedded.broker, HistorySettings(rows=100))
    assert kept.records == 100
    assert [r.id for r in incidents] == [f"i{n:03}" for n in range(299, 199, -1)]


def test_rows_beyond_their_bytes_are_dropped_oldest_first(embedded: Embedded, home: Path) -> None:
    write(embedded.broker, [incident(id=f"i{n:04}", note="x" * 3_000, onset=NOW + n) for n in range(2_000)])
    kept, incidents, _ = kept_after(home, embedded.broker, HistorySettings(megabytes=4))
    assert 1_000_000 < kept.bytes <= 4_000_000
    assert incidents[0].id == "i1999"
    assert incidents[-1].id > "i0600"


def test_a_record_with_a_time_far_ahead_does_not_push_the_others_out(embedded: Embedded, home: Path) -> None:
    write(embedded.broker, [incident(id="forged")], arrived=2**61)
    write(embedded.broker, [incident(id=f"i{n:04}", note="x" * 3_000) for n in range(2_000)])
    _, incidents, _ = kept_after(home, embedded.broker, HistorySettings(megabytes=4))
    assert len(incidents) > 100


def test_the_index_prunes_itself_while_it_is_built(
    embedded: Embedded, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "PRUNE_ROWS", 500)
    monkeypatch.setattr(indexer, "BATCH_ROWS", 250)
    monkeypatch.setattr(places, "BATCH", 100)
    write(embedded.broker, [incident(id=f"i{n}") for n in range(3_000)])
    with opened(home / "index.db") as database:
        indexer.update(database, embedded.broker, [INCIDENTS.name], HistorySettings(rows=100))
        assert View(database).kept().records <= 700


def test_an_index_that_nobody_opens_any_more_is_removed(embedded: Embedded, home: Path) -> None:
    (home / "history").mkdir()
    for name, age_days in (("gone.db", 40), ("used.db", 20)):
        (home / "history" / name).touch()
        os.utime(home / "history" / name, (now_ms() / 1000 - age_days * 86_400,) * 2)
    with current(embedded.broker, [INCIDENTS.name]):
        left = {path.name for path in (home / "history").glob("*.db")}
    assert "gone.db" not in left
    assert "used.db" in left

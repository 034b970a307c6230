"""The index in SQLite: built from the topics, resumed, shared, bounded, and thrown away when it cannot be used."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from app.clock import now_ms
from app.errors import UserError
from app.history import indexer, schema, view
from app.history.bounds import used_bytes
from app.history.schema import opened, transaction
from app.history.settings import HistorySettings
from app.history.view import View, current, rebuild
from app.kafka import places
from app.kafka.broker import Broker, admin
from app.kafka.embedded import Embedded
from app.kafka.places import cluster_of
from tests.builders import CATALOG, NOW, decision, incident, proposal, sample
from tests.histories import write
from tests.processes import until
from topics.audit import GENESIS, AuditEntry
from topics.catalog import ALL
from topics.codec import Cause, DeadLetter
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, State
from topics.signals import ANOMALIES
from topics.spec import Origin, Raw
from topics.telemetry import HEARTBEATS


def file(home: Path) -> Path:
    (found,) = (home / "history").glob("*.db")
    return found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages that were read from topics to build an index, in the order in which they came."""
    found: list[Any] = []

    def counted(*arguments: Any) -> Iterator[Any]:
        for messages, reached in places.read_on(*arguments):
            found.extend(messages)
            yield messages, reached

    monkeypatch.setattr(indexer, "read_on", counted)
    return found


def test_only_what_is_new_is_read_again(embedded: Embedded, read: list[Any]) -> None:
    write(embedded.broker, [incident(id=f"i{n}") for n in range(30)])
    with current(embedded.broker, [INCIDENTS.name]) as first:
        assert len(first.newest(INCIDENTS)) == 30
    write(embedded.broker, [incident(id="new", onset=NOW + 1)])
    read.clear()
    with current(embedded.broker, [INCIDENTS.name]) as second:
        assert second.newest(INCIDENTS, limit=1)[0] == incident(id="new", onset=NOW + 1)
    assert [(message.topic(), message.offset()) for message in read] == [(INCIDENTS.name, 30)]
    with current(embedded.broker, [INCIDENTS.name]):
        assert len(read) == 1, "nothing is new, so nothing is read"


def test_a_record_that_does_not_decode_is_counted_and_stops_nothing(embedded: Embedded) -> None:
    garbage = [(INCIDENTS.name, value) for value in (b"poison", b'{"id": 7}', b"[" * 2000, b"\xff", b'{"v": 99}')]
    write(embedded.broker, [incident(id="a"), *garbage, incident(id="b")])
    with current(embedded.broker) as found:
        assert {record.id for record in found.newest(INCIDENTS)} == {"a", "b"}  # type: ignore[attr-defined]
        assert found.kept().unreadable == len(garbage)


def test_a_topic_that_was_made_anew_is_indexed_anew(home: Path) -> None:
    def cluster(*identities: str) -> Embedded:
        made = Embedded.start({topic.name: topic.partitions for topic in ALL})
        write(made.broker, [incident(id=identity) for identity in identities])
        return made

    path = home / "index.db"
    for identities in (("old1", "old2", "old3"), ("new1",)):
        with cluster(*identities) as made, opened(path) as database:
            indexer.update(database, made.broker, [INCIDENTS.name], HistorySettings())
            assert {r.id for r in View(database).newest(INCIDENTS)} == set(identities)  # type: ignore[attr-defined]
            assert View(database).next_offsets([INCIDENTS.name])[INCIDENTS.name, 0] == len(identities)


def test_a_topic_of_another_id_is_indexed_anew_though_its_offsets_went_on(
    embedded: Embedded, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extents = places.extents
    written = 0
    for topic_id, identities in (("one", ["a"]), ("two", ["b", "c"])):
        write(embedded.broker, [incident(id=identity) for identity in identities])
        low = written

        def other(broker: Broker, topics: Any, low: int = low, topic_id: str = topic_id) -> Any:
            return {
                place: places.Extent(low if place[1] == 0 else extent.low, extent.high, topic_id)
                for place, extent in extents(broker, topics).items()
            }

        monkeypatch.setattr(indexer, "extents", other)
        with opened(home / "index.db") as database:
            indexer.update(database, embedded.broker, [INCIDENTS.name], HistorySettings())
            assert {r.id for r in View(database).newest(INCIDENTS)} == set(identities)  # type: ignore[attr-defined]
        written += len(identities)


def test_two_that_index_at_once_write_each_record_once(embedded: Embedded, home: Path) -> None:
    write(embedded.broker, [sample(f"shop/s{n % 50}/0", NOW + n) for n in range(3_000)])
    write(embedded.broker, [incident(id=f"i{n % 100}", seq=n // 100) for n in range(3_000)])
    start = threading.Barrier(2)
    failures: list[BaseException] = []

    def index() -> None:
        try:
            start.wait(10)
            with current(embedded.broker):
                pass
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=index) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert failures == []
    with current(embedded.broker) as found:
        kept = found.kept()
        assert (kept.records, kept.anomalies, kept.entities) == (3_000, 3_000, 51)
        assert len(found.newest(INCIDENTS)) == 100


def test_what_another_process_wrote_since_the_offsets_were_read_is_left_out(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(embedded.broker, [incident(id=f"i{n}") for n in range(20)])

    def late(*arguments: Any) -> Iterator[Any]:
        batches = [*places.read_on(*arguments)]
        monkeypatch.setattr(indexer, "read_on", places.read_on)
        with current(embedded.broker, [INCIDENTS.name]):
            pass  # another process is quicker
        yield from batches

    monkeypatch.setattr(indexer, "read_on", late)
    with current(embedded.broker, [INCIDENTS.name]) as found:
        assert found.kept().records == 20


def test_an_index_that_is_begun_anew_meanwhile_is_not_filled_with_messages_of_before(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    write(embedded.broker, [incident(id=f"i{n}") for n in range(20)])
    with current(embedded.broker, [INCIDENTS.name]):
        pass
    write(embedded.broker, [incident(id="last")])

    def late(*arguments: Any) -> Iterator[Any]:
        monkeypatch.setattr(indexer, "read_on", places.read_on)
        schema.begin_anew(file(home))
        yield from places.read_on(*arguments)

    monkeypatch.setattr(indexer, "read_on", late)
    with current(embedded.broker, [INCIDENTS.name]) as found:
        assert found.kept().records == 21, "the last one alone would be a hole of twenty"


@pytest.mark.parametrize("damage", ["another version", "no database", "cut off", "overwritten"])
def test_an_index_that_cannot_be_used_is_built_again(embedded: Embedded, home: Path, damage: str) -> None:
    write(embedded.broker, [incident(id=f"i{n}") for n in range(200)])
    with current(embedded.broker):
        pass
    path = file(home)
    if damage == "another version":
        with sqlite3.connect(path) as database:
            database.executescript("DROP TABLE records; CREATE TABLE future (x); PRAGMA user_version = 999;")
        database.close()
    else:
        whole, garbage = path.read_bytes(), b"no database at all" * 1_000
        path.write_bytes(
            {"no database": garbage, "cut off": whole[:20_000]}.get(
                damage, whole[:16_384] + b"x" * (len(whole) - 16_384)
            )
        )
    if damage == "overwritten":  # noticed when it is read; the error says what helps, and it does
        with pytest.raises(UserError, match="opsloop history rebuild"), current(embedded.broker) as found:
            found.newest(INCIDENTS)
        rebuild(embedded.broker)
    with current(embedded.broker) as found:
        assert len(found.newest(INCIDENTS)) == 200


def test_a_rebuild_gives_the_same_index(embedded: Embedded) -> None:
    write(embedded.broker, [incident(id=f"i{n}") for n in range(50)])
    with current(embedded.broker) as found:
        before = found.newest(INCIDENTS)
    read, kept = rebuild(embedded.broker)
    assert (read, kept.records) == (50, 50)
    with current(embedded.broker) as found:
        assert found.newest(INCIDENTS) == before


def test_the_index_is_for_its_owners_eyes_only(embedded: Embedded, home: Path) -> None:
    write(embedded.broker, [incident()])
    with current(embedded.broker):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home / "history").iterdir()}
    assert len(modes) >= 3, "the database and what SQLite keeps beside it"
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((home / "history").stat().st_mode) == 0o700


def test_a_home_that_cannot_be_written_is_told_in_a_line(
    embedded: Embedded, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("OPSLOOP_HOME", str(home / "file"))
    refused = pytest.raises(UserError, match=r"cannot keep the index.*\(Not a directory\)\. Set OPSLOOP_HOME")
    with refused, current(embedded.broker):
        pass
    with refused:
        rebuild(embedded.broker)


def test_an_index_that_another_process_holds_is_not_deleted_by_a_rebuild(
    embedded: Embedded, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(embedded.broker, [incident()])
    with current(embedded.broker):
        pass
    monkeypatch.setattr(schema, "BUSY_S", 0.1)
    before = file(home).stat().st_ino
    with opened(file(home)) as other, transaction(other), pytest.raises(UserError, match="database is locked"):
        rebuild(embedded.broker)
    assert file(home).stat().st_ino == before
    assert rebuild(embedded.broker)[0] == 1


def test_a_topic_that_is_missing_is_told_in_a_line() -> None:
    with Embedded.start({INCIDENTS.name: 1}) as cluster:
        missing = pytest.raises(UserError, match=r"there is no topic opsloop\.decisions on this broker")
        with missing, current(cluster.broker, [INCIDENTS.name, DECISIONS.name]):
            pass
        assert rebuild(cluster.broker)[0] == 0, "a rebuild takes what there is"


def test_ids_are_bound_and_never_part_of_a_statement(embedded: Embedded) -> None:
    nasty = "'; DROP TABLE records; --"
    write(embedded.broker, [incident(id=nasty, entity=nasty), incident(id="i1")])
    with current(embedded.broker) as found:
        assert [r.id for r in found.beginning(INCIDENTS, nasty)] == [nasty]  # type: ignore[attr-defined]
        assert found.beginning(INCIDENTS, "%") == found.beginning(INCIDENTS, "_") == []
        assert found.threads(nasty) == [nasty]
        assert set(found.entities()) == {nasty, CATALOG}


def test_lookups_use_an_index_whatever_the_size_of_the_history(home: Path) -> None:
    asked = {"thread": "x", "low": "a", "high": "b", "origins": "[]", "entity": "e", "from": 0, "most": 5}
    with opened(home / "index.db") as database:
        for statement in (
            view._NEWEST, view._NEWEST_OPEN, view._BEGINNING, view._THREADS, view._THREAD, view._REFUSED, view._FIRST,
            view._AUDIT_OF, view._AUDIT_LAST,
        ):  # fmt: skip
            values: Any = asked if ":" in statement else (1,) * statement.count("?")
            plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            scans = [
                step for step in plan if step.startswith("SCAN") and "json_each" not in step and "INDEX" not in step
            ]
            tables = ("records", "anomalies", "latest", "audit", "letters")
            assert [step for step in scans if step.split()[1] in tables] == [], (statement, plan)
            assert not any("TEMP B-TREE FOR ORDER BY" in step for step in plan) or statement in (
                view._THREAD, view._REFUSED, view._AUDIT_OF,
            ), (statement, plan)  # fmt: skip


def test_each_cluster_has_an_index_of_its_own(embedded: Embedded, home: Path) -> None:
    with Embedded.start({INCIDENTS.name: 1}) as other:
        assert cluster_of(embedded.broker) != cluster_of(other.broker)
        for cluster in (embedded, other):
            with current(cluster.broker, [INCIDENTS.name]):
                pass
    assert len([*(home / "history").glob("*.db")]) == 2


def test_open_incidents_and_waiting_decisions_are_counted_and_listed(embedded: Embedded) -> None:
    done = incident(id="done", state=State.RESOLVED)
    write(embedded.broker, [incident(id="open"), done, decision(proposed=proposal(id="p1"))])
    with current(embedded.broker) as found:
        assert [r.id for r in found.newest(INCIDENTS, open_only=True)] == ["open"]  # type: ignore[attr-defined]
        assert (found.count(INCIDENTS), found.count(INCIDENTS, open_only=True)) == (2, 1)
        assert isinstance(found.newest(DECISIONS, open_only=True)[0], Decision)
        assert found.newest(INCIDENTS, since=now_ms() + 60_000) == []


def test_audit_entries_are_found_by_what_they_keep_and_by_their_number(embedded: Embedded) -> None:
    entries = [
        AuditEntry(
            chain=0, seq=n, ts=NOW + n, domain="shop", topic=INCIDENTS.name, origin=f"{INCIDENTS.name}-0-{n}",
            body=b"{}", previous=GENESIS, applied={},  # type: ignore[arg-type]
        )
        for n in range(10)
    ]  # fmt: skip
    write(embedded.broker, [*entries, AuditEntry(
        chain=0, seq=10, ts=NOW, domain="shop", topic="t", origin="no place", body=b"{}", previous="", applied={},  # type: ignore[arg-type]
    )])  # fmt: skip
    with current(embedded.broker) as found:
        (place,) = found.audit_of([Origin(INCIDENTS.name, 0, 4)])
        assert place.offset == 4
        assert found.audit_of([Origin(INCIDENTS.name, 1, 4), Origin(ANOMALIES.name, 0, 4)]) == []
        assert [p.offset for p in found.audit_last(3)] == [7, 8, 9]
        assert [p.offset for p in found.audit_last(0, start=8)] == [10, 8, 9]
        assert [p.offset for p in found.audit_between(0, 2, 4)] == [2, 3, 4]


def test_dead_letters_are_listed_by_topic_cause_and_id_each_once(embedded: Embedded) -> None:
    def letter(offset: int, cause: Cause) -> DeadLetter:
        return DeadLetter(Raw(HEARTBEATS.name, 2, offset, b"k", b"v"), cause, "no")

    write(embedded.broker, [
        letter(1, Cause.MALFORMED), letter(1, Cause.MALFORMED), letter(2, Cause.EMPTY),
        (HEARTBEATS.dlq, b"somebody else's"),
    ])  # fmt: skip
    with current(embedded.broker, [HEARTBEATS.dlq]) as found:
        listed = found.letters([HEARTBEATS.dlq])
        assert [(row.cause, row.origin, row.place.offset) for row in listed] == [
            ("malformed", f"{HEARTBEATS.name}-2-1", 0),
            ("empty", f"{HEARTBEATS.name}-2-2", 2),
            ("unknown", f"{HEARTBEATS.dlq}-0-3", 3),
        ]
        assert found.letters([HEARTBEATS.dlq], cause="empty") == [listed[1]]
        assert found.letters([HEARTBEATS.dlq], start=listed[2].id[:9]) == [listed[2]]
        assert found.letters([INCIDENTS.dlq]) == []


def test_dead_letters_that_were_deleted_are_listed_no_more(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    write(embedded.broker, [(HEARTBEATS.dlq, b"one"), (HEARTBEATS.dlq, b"two")])
    with current(embedded.broker, [HEARTBEATS.dlq]) as found:
        assert len(found.letters([HEARTBEATS.dlq])) == 2
    extents = places.extents
    purged = {(HEARTBEATS.dlq, 0): places.Extent(1, 2)}
    monkeypatch.setattr(indexer, "extents", lambda *a: extents(*a) | purged)
    with current(embedded.broker, [HEARTBEATS.dlq]) as found:
        assert [row.place.offset for row in found.letters([HEARTBEATS.dlq])] == [1]


def test_the_space_that_rows_take_is_less_than_the_file(embedded: Embedded, home: Path) -> None:
    write(embedded.broker, [incident(id=f"i{n}") for n in range(100)])
    with current(embedded.broker):
        pass
    with opened(file(home)) as database:
        assert 0 < used_bytes(database) <= 16_384 * 100


@pytest.mark.kafka
def test_a_topic_that_is_deleted_and_made_anew_on_a_kafka_is_indexed_anew(broker: Broker, home: Path) -> None:
    client = admin(broker)
    for names in (["one", "two"], ["three", "four", "five"]):  # the new offsets go beyond the old ones
        until(lambda: _created(client, "again.dlq"))
        until(lambda: places.existing(broker, ["again.dlq"]))
        write(broker, [("again.dlq", name.encode()) for name in names])
        with opened(home / "index.db") as database:
            indexer.update(database, broker, ["again.dlq"], HistorySettings())
            rows = View(database).letters(["again.dlq"])
        found = places.read_places(broker, [row.place for row in rows])
        assert [raw.value for raw in found.values()] == [name.encode() for name in names]
        assert len({row.arrived for row in rows}) == len(names)
        client.delete_topics(["again.dlq"])["again.dlq"].result(15)
        until(lambda: not places.existing(broker, ["again.dlq"]))


def _created(client: AdminClient, name: str) -> bool:
    """Make a topic; False while one of this name is still being deleted."""
    try:
        client.create_topics([NewTopic(name, 1, 1)])[name].result(15)
    except KafkaException:
        return False
    return True

"""The packs that hold, read in the background: what is registered counts, and what is bad changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from processes import until

from app.client import Publisher
from app.kafka.broker import Broker
from app.kafka.embedded import Embedded
from app.knowledge.follow import Follower, PackBook
from app.security.keys import Keys
from app.shipped import packs
from app.testing import NOW, RING, pack_of
from models.knowledge.packs import Packs
from models.safety.roles import Role
from models.versions import sign_version
from tests.packs import signals
from topics.meanings import Meanings
from topics.packs import PackVersion

MINE = signals(half="a / b")


def derived(said: Meanings | None) -> set[str]:
    return {program.name for program in said.derived} if said else set()


@pytest.fixture
def book() -> PackBook:
    return PackBook(Packs(packs().shipped.values()), RING)


def test_the_shipped_packs_hold_at_first_and_a_registered_one_from_its_record_on(book: PackBook) -> None:
    shipped = derived(book.said)
    assert "http.server.failed_ratio" in shipped
    before = book.said
    book.take(pack_of(MINE), NOW)
    assert derived(book.said) == shipped | {"half"}
    book.take(pack_of(MINE, version=2, active=False), NOW)
    assert derived(book.said) == shipped | {"half"}, "that version did not hold"
    book.take(pack_of(MINE, version=1, ts=NOW + 9, active=False), NOW)
    assert book.said == before


@pytest.mark.parametrize(
    "word",
    [
        lambda: pack_of("[pack", name="test"),
        lambda: pack_of(signals(half="a +"), version=2),
        lambda: pack_of(signals(half="(" * 60 + "a"), version=2),
        lambda: pack_of(MINE.replace('"test"', '"other"'), name="test", version=2),
        lambda: pack_of(signals(other="a / b"), version=2, by="ben"),
        lambda: PackVersion(name="test", version=2, ts=NOW + 1, by="ada", source=signals(other="a"), active=True),
    ],
)  # fmt: skip
def test_a_version_that_cannot_be_read_or_that_nobody_signed_who_may_changes_nothing(
    book: PackBook, word: Callable[[], PackVersion]
) -> None:
    book.take(pack_of(MINE), NOW)
    before = book.said
    book.take(word(), NOW)
    assert book.said is before


def test_a_circle_or_an_operand_that_matches_nothing_harms_no_other_signal(book: PackBook) -> None:
    book.take(pack_of(signals(one="two + a", two="one", nought="1 / 0", lost="no.such / other", half="a / b")), NOW)
    assert {"half", "lost"} <= derived(book.said)
    assert not derived(book.said) & {"one", "two", "nought"}


@pytest.fixture
def admin(home: Path) -> Keys:
    keys = Keys(home)
    keys.add("ada", (Role.ADMIN,))
    return keys


def test_what_stands_on_the_topic_counts_before_it_is_asked_and_what_comes_later_while_it_runs(
    embedded: Embedded, admin: Keys
) -> None:
    broker = Broker(embedded.bootstrap)
    with Publisher(broker) as publisher:
        publisher.send(sign_version(pack_of(MINE), admin.own("ada")))
        publisher.flush()
        follower = Follower(broker, PackBook(Packs(()), admin))
        assert follower.said() is None, "it is not known yet"
        with follower:
            assert derived(follower.said()) == {"half"}
            publisher.send(sign_version(pack_of(signals(more="a + b"), version=2), admin.own("ada")))
            publisher.flush()
            until(lambda: derived(follower.said()) == {"more"}, 30)


def test_while_the_topic_cannot_be_read_it_is_not_known_what_packs_say(
    admin: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.knowledge.follow.PATIENT_S", 0.1)
    with Embedded.start({"other": 1}) as cluster, Follower(Broker(cluster.bootstrap), PackBook(Packs(()), admin)) as f:
        assert f.said() is None

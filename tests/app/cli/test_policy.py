"""`opsloop policy`: as an admin types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from app import printing
from app.cli import build
from app.client import Publisher
from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import Broker
from app.kafka.embedded import Embedded
from app.policy.store import load
from app.security.keys import Keys
from models.safety.roles import Role
from models.versions import Book
from tests.builders import policy
from tests.rules import rule
from topics.policies import POLICIES, Policy

Typed = Callable[..., str]
DENY = rule("default allow := false", name="probe")


@pytest.fixture
def typed(embedded: Embedded, home: Path) -> Typed:
    """Types `opsloop policy …` as ada, who is an admin."""
    Keys(home).add("ada", (Role.ADMIN,))
    Keys(home).add("ben", (Role.APPROVER,))

    def run(*words: str, code: int = 0, by: str = "ada") -> str:
        signing = words[0] in ("register", "rollback", "activate", "withdraw")
        line = ["policy", *words, *(("--as", by) if signing else ()), "--broker", embedded.bootstrap]
        result = CliRunner().invoke(build(), line, env={"COLUMNS": "200"})
        if isinstance(result.exception, UserError):
            raise result.exception
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout

    return run


def holds(typed: Typed, name: str = "probe") -> Any:
    return next((row["holds"] for row in json.loads(typed("list", "--json")) if row["name"] == name), "unheard of")


def written(folder: Path, source: str) -> str:
    file = folder / "probe.rego"
    file.write_text(source)
    return str(file)


def test_versions_are_counted_and_the_newest_holds_until_it_is_rolled_back(typed: Typed, tmp_path: Path) -> None:
    assert holds(typed) == "unheard of"
    assert "probe version 1 holds" in typed("register", written(tmp_path, DENY), "--comment", "after the outage")
    assert "holds already" in typed("register", written(tmp_path, DENY))
    typed("register", written(tmp_path, rule(name="probe")))
    assert holds(typed) == 2
    assert "-default allow := false" in typed("diff", "probe", code=1)
    assert typed("diff", "probe", "--from", "1", "--to", "1") == ""
    assert "probe version 1 holds again" in typed("rollback", "probe")
    assert holds(typed) == 1
    shown = json.loads(typed("show", "probe", "--json"))
    assert (shown["version"], shown["source"], shown["history"][0]["by"]) == (1, DENY, "ada")
    typed("activate", "probe", "2")
    assert holds(typed) == 2
    typed("withdraw", "probe")
    assert holds(typed) is None
    typed("activate", "probe", "1")
    assert holds(typed) == 1
    assert "no version of probe holds" in typed("rollback", "probe")
    assert holds(typed) is None


def test_a_version_reaches_every_partition_under_the_signature_of_its_author(
    typed: Typed, embedded: Embedded, home: Path, tmp_path: Path
) -> None:
    typed("register", written(tmp_path, DENY), "--comment", "x")
    store = load(Broker(embedded.bootstrap), Keys(home))
    (word,) = store.versions["probe"].values()
    assert (word.by, word.key, word.comment) == ("ada", Keys(home).own("ada").key, "x")
    from app.history.records import records

    places = {read.origin.partition for read in records(Broker(embedded.bootstrap), [POLICIES])}
    assert places == set(range(POLICIES.partitions))


def test_a_shipped_policy_is_replaced_shown_and_rolled_back_to_as_it_is_shipped(typed: Typed, tmp_path: Path) -> None:
    assert holds(typed, "storm") == 0
    ours = tmp_path / "storm.rego"
    ours.write_text(rule(name="storm"))
    assert "+" in typed("diff", str(ours), code=1)
    typed("register", str(ours))
    assert holds(typed, "storm") == 1
    assert "storm as it is shipped holds again" in typed("rollback", "storm")
    assert holds(typed, "storm") == 0
    typed("withdraw", "storm")
    assert holds(typed, "storm") is None


def test_after_compaction_a_withdrawn_policy_does_not_come_back(typed: Typed, embedded: Embedded, home: Path) -> None:
    """Only the newest word about each version is left on the topic; a gate that starts then holds none of them."""
    for name in ("probe", "storm"):
        source = rule("default allow := false", name=name)
        file = Path(home / f"{name}.rego")
        for text in (source, source + "\n# again\n", source + "\n# and again\n"):
            file.write_text(text)
            typed("register", str(file))
        typed("withdraw", name)
    store = load(Broker(embedded.bootstrap), Keys(home))
    for name in ("probe", "storm"):
        for order in (1, -1):
            book = Book()
            for version in sorted(store.versions[name])[::order]:
                book.take(store.versions[name][version], Keys(home), store.ready.check, now_ms())
            assert [p for p in store.ready.active(book) if p.name == name] == [], (name, order)


def test_what_does_not_pass_its_trial_is_not_registered(typed: Typed, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="undefined"):
        typed("register", written(tmp_path, rule("allow if input.system.storm")))
    assert holds(typed) == "unheard of"
    assert "✗" in typed_test(tmp_path, rule("allow if input.system.storm"), 1)
    assert "✓" in typed_test(tmp_path, DENY, 0)


def typed_test(folder: Path, source: str, code: int) -> str:
    result = CliRunner().invoke(build(), ["policy", "test", written(folder, source)], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("rollback", "nosuch"), "no version of nosuch holds"),
        (("withdraw", "nosuch"), "no version of nosuch holds"),
        (("activate", "storm", "7"), "there is no version 7 of storm: there is 0"),
        (("show", "nosuch"), "no version of nosuch holds"),
        (("register", "nosuch.rego"), "cannot be read"),
        (("diff", "nosuch.rego"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said(typed: Typed, words: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError, match=told):
        typed(*words)


def test_nobody_but_an_admin_changes_policies(typed: Typed, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ben may not change policies"):
        typed("register", written(tmp_path, DENY), by="ben")
    assert holds(typed) == "unheard of"


def test_what_somebody_else_wrote_on_the_topic_is_not_counted(typed: Typed, embedded: Embedded, home: Path) -> None:
    with Publisher(Broker(embedded.bootstrap)) as publisher:
        publisher.send(policy(DENY, version=9))  # a good signature, of a key that nobody here knows
        publisher.send(Policy(name="probe", version=8, ts=1, by="ada", source=DENY, active=True))
    assert holds(typed) == "unheard of"


def test_a_list_is_a_table_for_a_person(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printing, "out", Console(width=200))
    told = typed("list")
    assert "irreversible" in told
    assert "shipped" in told

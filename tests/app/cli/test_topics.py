"""`opsloop topics apply` asks once before it makes the first topics of a cluster."""

from __future__ import annotations

import io

import pytest

from app.cli.topics import _confirm
from app.errors import UserError
from app.kafka.admin import TopicStep, TopicStepKind

CLUSTER = "the cluster 4L6g3nShT at kafka-1:9092 (3 nodes, 12 other topics)"
NEW = [TopicStep(TopicStepKind.CREATE, f"opsloop.{n}", {}) for n in range(36)]


class Terminal(io.StringIO):
    """Standard input of a person."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that were put to a person, who says no."""
    questions: list[str] = []
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("typer.confirm", lambda text: bool(questions.append(text)))
    return questions


def test_a_person_is_asked_once_by_the_name_of_the_cluster_and_a_no_makes_nothing(asked: list[str]) -> None:
    with pytest.raises(UserError, match="no topic was made"):
        _confirm(CLUSTER, NEW, ask=True)
    (question,) = asked
    assert CLUSTER in question
    assert "36 topics" in question


def test_nobody_is_asked_where_there_are_topics_of_ours_or_nothing_is_new(asked: list[str]) -> None:
    _confirm("", NEW, ask=True)
    _confirm(CLUSTER, [TopicStep(TopicStepKind.CONFIG, "opsloop.audit", {})], ask=True)
    assert asked == []


@pytest.mark.parametrize("ask", [True, False])
def test_without_a_terminal_it_takes_yes(monkeypatch: pytest.MonkeyPatch, ask: bool) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(UserError, match="36 would be made on it"):
        _confirm(CLUSTER, NEW, ask=ask)

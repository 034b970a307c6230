"""What a person gets who types something wrong: one or two lines that say what to type, and never a traceback."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.__main__ import main
from app.kafka.embedded import Embedded
from tests.builders import decision, proposal
from tests.histories import write
from topics.decisions import Decision, DecisionState

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    """Types a line; its exit code and what stood on stderr."""
    monkeypatch.setenv("OPSLOOP_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*line: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["opsloop", *line])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("worker nonsense", "there is no role 'nonsense'. Choose one of lane, loop, act, all"),
        ("worker act --mode bold", "Invalid enum value 'bold'"),
        ("demo --approve maybe", "--approve takes ask, auto or off; --until takes resolved"),
        ("demo --until later", "--approve takes ask, auto or off; --until takes resolved"),
        ("demo --until resolved", "--until resolved needs something to resolve. Add --break kill:catalog"),
        ("autonomy grant everything", "'everything' is neither a class of action nor a tier"),
        ("autonomy grant shop/automatic --as olga", "olga may not say what acts alone. Nobody is a lead yet"),
        ("policy test /nowhere.rego", "/nowhere.rego cannot be read (No such file or directory). Give a .rego file"),
        ("kill-switch sideways", "the kill switch has no position 'sideways'. Say on or off"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(typed: Typed, line: str, told: str) -> None:
    code, said = typed(*line.split())
    assert (code, said.startswith("opsloop: ")) == (2, True)
    assert told in said
    assert "Traceback" not in said


def test_an_actuator_for_a_folder_that_is_not_there_never_gets_ready(typed: Typed) -> None:
    code, said = typed("worker", "act", "--site", "/nowhere", "--broker", "127.0.0.1:1")
    assert code == 2
    assert "'/nowhere'" in said


@pytest.mark.parametrize("line", ["nonsense", "worker", "approve", "explain", "incidents --since yesterday"])
def test_a_line_that_is_not_understood_is_answered_with_its_usage(typed: Typed, line: str) -> None:
    code, said = typed(*line.split())
    assert code == 2
    assert "Usage: opsloop" in said
    assert "Traceback" not in said


PENDING = decision(DecisionState.PENDING, proposal(id="p1"), expires=int(time.time() * 1000) + 60_000)
EXPIRED = decision(DecisionState.PENDING, proposal(id="p2"), expires=1)
DONE = decision(DecisionState.COMPLETED, proposal(id="p3"))


@pytest.mark.parametrize("verb", ["approve", "reject"])
@pytest.mark.parametrize(
    ("known", "identity", "told"),
    [
        ([], "4be1", "no decision begins with '4be1'. See `opsloop decisions --waiting`"),
        ([PENDING, DONE], "", "several decisions begin with ''"),
        ([EXPIRED], EXPIRED.id[:5], "does not wait any more: it is expired"),
        ([DONE], DONE.id, "does not wait any more: it is completed"),
    ],
    ids=["unknown", "several", "expired", "done"],
)
def test_a_vote_on_what_does_not_wait_is_refused_in_words(
    typed: Typed, embedded: Embedded, verb: str, known: list[Decision], identity: str, told: str
) -> None:
    write(embedded.broker, known)
    code, said = typed(verb, identity, "--broker", embedded.bootstrap)
    assert code == 1
    assert told in said


def test_a_port_that_is_taken_is_told_once(typed: Typed, embedded: Embedded) -> None:
    port = embedded.bootstrap.rpartition(":")[2]
    code, said = typed("serve", "--port", port, "--broker", embedded.bootstrap)
    assert code == 2
    assert said == f"opsloop: cannot listen on 127.0.0.1:{port} (Address already in use). Choose another --port\n"


def test_what_was_published_is_told_in_one_line_where_stderr_is_no_terminal(
    typed: Typed, embedded: Embedded, tmp_path: Path
) -> None:
    (tmp_path / "one.jsonl").write_text('{"entity": "a", "ts": 1700000000000, "metrics": {"cpu": 0.5}}\n')
    code, said = typed("publish", "one.jsonl", "--broker", embedded.bootstrap)
    assert (code, said) == (0, "records published: 1\n")


def test_help_is_there_for_every_command(typed: Typed) -> None:
    for line in ("--help", "worker --help", "demo --help", "explain --help", "approve --help", "kill-switch --help"):
        assert typed(*line.split())[0] == 0, line

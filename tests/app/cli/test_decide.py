"""`opsloop decide` and `propose`: what is shown, what is published, and what is answered to a question that is none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.__main__ import main
from app.clock import now_ms
from app.security import messages
from app.security.keys import Keys
from models.decision.base import DecisionKind
from models.policy.engine import Policies
from models.policy.rego import Rego
from models.safety.approval import check_proposal
from models.safety.limits import GateState
from models.safety.modes import Mode
from models.safety.roles import Role
from models.safety.settings import SafetySettings
from tests.builders import NOW
from tests.rules import GRANT, rule
from topics.decisions import DecisionState
from topics.proposals import Proposal

ROOT = Path(__file__).parents[3]
QUESTION = {"kind": "compliance", "target": "shop/catalog", "facts": {"revision_approved": 0}}
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Proposal]:
    """What would be published."""
    found: list[Proposal] = []
    monkeypatch.setattr(messages, "publish", lambda _, proposed: found.append(proposed))
    monkeypatch.setattr("app.kafka.broker.require", lambda _: None)
    monkeypatch.setattr("app.decisions.known.require_known", lambda *_: None)
    return found


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    monkeypatch.setenv("OPSLOOP_HOME", str(tmp_path))
    Keys(tmp_path).add("olga", (Role.OPERATOR,))
    Keys(tmp_path).add("vera", (Role.VIEWER,))
    monkeypatch.chdir(tmp_path)

    def run(*line: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["opsloop", *line])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_question_is_answered_with_options_policies_and_what_the_mode_says(typed: Typed, sent: list[Any]) -> None:
    code, said, _ = typed("decide", "--kind", "scaling", "--target", "shop/catalog", "--fact", "utilization=0.91")
    assert code == 0
    for word in ("overload", "utilization is 0.91", "scale_out replicas=1", "chosen", "policy actions: allow"):
        assert word in said
    assert "pending_approval" in said
    assert sent == []


DOCUMENTED = re.findall(r"^opsloop (decide .*?)  # (.*)$", (ROOT / "docs" / "decisions.md").read_text(), re.M)


def test_the_docs_have_an_example_of_each_kind() -> None:
    assert [line.split()[2] for line, _ in DOCUMENTED] == list(DecisionKind)


@pytest.mark.parametrize(("line", "answer"), DOCUMENTED, ids=[line.split()[2] for line, _ in DOCUMENTED])
def test_an_example_of_the_docs_is_answered_as_it_says(typed: Typed, line: str, answer: str) -> None:
    code, said, _ = typed(*line.split(), "--json")
    proposed = json.loads(said)["decision"]["proposal"]
    values = "".join(f" {name}={value}" for name, value in proposed["parameters"].items())
    assert (code, f"{proposed['action']}{values} on {proposed['target']}") == (0, answer)


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_a_question_may_be_a_file_and_the_answer_a_proposal(
    typed: Typed, sent: list[Proposal], tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"question.{suffix}"
    toml = 'kind = "compliance"\ntarget = "shop/catalog"\nparameters = {approved_revision = "3"}\n'
    toml += "facts = {revision_approved = 0}\ncontext = {compliance = 1.0}\n"
    asked = QUESTION | {"parameters": {"approved_revision": "3"}, "context": {"compliance": 1.0}}
    file.write_text(toml if suffix == "toml" else json.dumps(asked))
    code, said, _ = typed("decide", str(file), "--propose", "--as", "olga", "--json")
    answer = json.loads(said.splitlines()[-1])["decision"]["proposal"]
    (proposed,) = sent
    assert code == 0
    assert (answer["id"], answer["context"]["compliance"]) == (proposed.id, 1.0)
    assert (proposed.action, proposed.parameters, proposed.requester) == ("rollback_config", {"revision": "3"}, "olga")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("decide", "there is no kind of decision ''. Give --kind, one of scaling, provisioning"),
        ("decide --kind scaling --fact utilization=0.9", "what is it about?"),
        ("decide --kind scaling --target shop/a --fact x=1", "Its rules ask about load, replicas, utilization"),
        ("decide --kind scaling --target shop/a --fact x", "'x' has no value. Write name=value"),
        ("decide --kind scaling --target shop/a --fact x=many", "a fact is no number"),
        ("decide nowhere.json", "cannot read nowhere.json"),
        ("decide bad.json", "bad.json is no question"),
        ("decide odd.json", "context: "),
        ("propose dance shop/a", "there is no action 'dance'. There are "),
        ("propose scale_out shop/a --set replicas=99", "replicas must be from 1 to 3"),
        ("propose scale_out shop/a --as vera", "vera may not ask for changes. Ask an operator or a lead"),
        ("propose scale_out shop/a --as nina", "nina has no key on this host. Make one: opsloop user add nina --role"),
        ("propose scale_out shop/a --as trust", "trust has no key on this host"),
    ],
)
def test_what_is_no_question_is_answered_in_words(typed: Typed, tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "bad.json").write_text('{"kind": "astrology"}')
    (tmp_path / "odd.json").write_text(json.dumps(QUESTION | {"context": {"moon": 1}}))
    code, _, said = typed(*line.split())
    assert code in (1, 2)
    assert told in said
    assert "Traceback" not in said


def test_a_persons_proposal_is_signed_and_never_passes_without_a_vote(
    typed: Typed, sent: list[Proposal], tmp_path: Path
) -> None:
    code, said, _ = typed("propose", "scale_out", "shop/a", "--set", "replicas=2", "--reason", "odd", "--as", "olga")
    (proposed,) = sent
    assert (code, proposed.id in said, proposed.reasons, proposed.requester) == (0, True, ("odd",), "olga")
    assert check_proposal(proposed, Keys(tmp_path), now_ms()).name == "olga"
    policies = Policies(Rego(), [rule(GRANT, "grant", "access")])
    (answer,) = GateState().judge(proposed, SafetySettings(mode=Mode.AUTONOMOUS), policies, NOW)
    assert answer.state is DecisionState.PENDING

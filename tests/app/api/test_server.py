"""The HTTP interface: every route with every role, what it refuses, and that nothing breaks it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from app.api.routes import PUBLIC, ROUTES
from app.api.schemas import ANSWERS
from app.api.server import make_app
from app.api.settings import ApiSettings
from app.client import Publisher
from app.clock import now_ms
from app.kafka.broker import read_all
from app.kafka.embedded import Embedded
from app.security.settings import SecuritySettings
from app.security.switch import LocalSwitch
from models.safety.approval import check_proposal
from models.safety.roles import OPERATIONS, Role
from tests.builders import CATALOG, decision, incident, proposal
from tests.processes import until
from tests.served import Client, served
from topics.approvals import APPROVALS
from topics.codec import decode
from topics.decisions import DecisionState
from topics.proposals import PROPOSALS
from topics.settings import SETTINGS

PEOPLE = {Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.LEAD, Role.ADMIN}
READERS = PEOPLE | {Role.AGENT, Role.WORKER}
ANSWERING = {Role.OPERATOR, Role.APPROVER, Role.LEAD}
# who may ask what, written down a second time: a change of the table must be meant
ALLOWED: dict[tuple[str, str], set[Role] | None] = {
    ("GET", "/"): None,
    ("GET", "/docs"): None,
    ("GET", "/health"): None,
    ("POST", "/tokens"): None,
    ("GET", "/openapi.json"): READERS,
    ("GET", "/me"): READERS,
    ("GET", "/decisions"): READERS,
    ("GET", "/decisions/{identity}"): READERS,
    ("POST", "/decisions/{identity}/votes"): {Role.APPROVER, Role.LEAD},
    ("POST", "/proposals"): {Role.OPERATOR, Role.LEAD, Role.AGENT, Role.WORKER},
    ("GET", "/incidents"): READERS,
    ("GET", "/incidents/{identity}"): READERS,
    ("POST", "/incidents/{identity}/acknowledge"): ANSWERING,
    ("POST", "/incidents/{identity}/resolve"): ANSWERING,
    ("GET", "/kill-switch"): READERS,
    ("POST", "/kill-switch/on"): PEOPLE - {Role.VIEWER},
    ("POST", "/kill-switch/off"): {Role.ADMIN},
    ("GET", "/maintenance"): READERS,
    ("POST", "/maintenance"): PEOPLE - {Role.VIEWER},
    ("GET", "/audit"): PEOPLE - {Role.VIEWER} | {Role.WORKER},
}
# the right to ask is looked at before what is asked: these are never right
BODIES: dict[str, Any] = {"/tokens": {"name": "nobody", "password": "nothing"}}
NONSENSE = {"reason": 5}


@pytest.fixture
def client(embedded: Embedded, home: Path) -> Iterator[Client]:
    with served(embedded.broker, home) as client:
        for role in Role:
            client.enrol(role, role)
        yield client


def ask(client: Client, method: str, path: str, by: str = "", **headers: str) -> Any:
    body = BODIES.get(path, NONSENSE) if method == "POST" else None
    return client.ask(method, path.replace("{identity}", "nothing"), by, body, **headers)


def test_every_route_is_in_the_table_and_every_row_is_a_route(client: Client) -> None:
    app: Any = make_app(client.read_model, client.tokens, ApiSettings())._app
    routes = {(method, route.path) for route in app.routes for method in route.methods}
    assert routes == set(ROUTES) == set(ALLOWED)
    assert all(operation == PUBLIC or operation in OPERATIONS for operation in ROUTES.values())


def test_every_route_answers_its_roles_alone(client: Client) -> None:
    wrong = []
    for (method, path), role in itertools.product(ALLOWED, Role):
        answer, allowed = ask(client, method, path, role), ALLOWED[method, path]
        refused = answer.status == 403 and answer.json["code"] == "wrong_role"
        if refused is (allowed is None or role in allowed) or answer.status >= 500:
            wrong.append((method, path, role, answer.status, answer.body))
    assert wrong == []


def test_without_a_good_token_nothing_but_the_public_is_answered(client: Client) -> None:
    token = client.token("viewer")
    identity = next(iter(client.tokens.issued()))
    good, last = token[:-1], token[-1]
    forged = good + ("A" if last != "A" else "Q")
    for method, path in (pair for pair, allowed in ALLOWED.items() if allowed is not None):
        for header in ({}, {"authorization": "Bearer nonsense"}, {"authorization": f"Basic {token}"},
                       {"authorization": f"Bearer {forged}"}):  # fmt: skip
            answer = ask(client, method, path, **header)
            assert answer.status == 401, (method, path, answer.body)
            assert answer.headers["www-authenticate"] == "Bearer"
    assert ask(client, "GET", "/me", "viewer").json["name"] == "viewer"
    client.tokens.revoke(identity)
    assert ask(client, "GET", "/me", "viewer").json["code"] == "revoked"


def test_a_password_gets_a_token_and_a_wrong_one_none(client: Client) -> None:
    client.tokens.set_password("approver", "correct horse battery")
    wrong = client.ask("POST", "/tokens", body={"name": "approver", "password": "correct horse"})
    assert (wrong.status, wrong.json["code"]) == (401, "forged")
    got = client.ask("POST", "/tokens", body={"name": "approver", "password": "correct horse battery"})
    me = client.ask("GET", "/me", authorization=f"Bearer {got.json['token']}").json
    assert (me["name"], me["roles"]) == ("approver", ["approver"])
    assert {"vote", "read"} <= set(me["operations"])


def test_what_waits_is_listed_and_shown_as_it_stands(client: Client, embedded: Embedded) -> None:
    waiting = decision(DecisionState.PENDING, proposal(id="p1"), expires=now_ms() + 60_000)
    ended = decision(DecisionState.COMPLETED, proposal(id="p2"))
    with Publisher(embedded.broker) as publisher:
        for record in (waiting, ended, incident()):
            publisher.send(record)
    until(lambda: len(client.read_model.decisions) == 2 and client.read_model.incidents)
    found = client.ask("GET", "/decisions?state=pending_approval", "viewer").json
    assert [d["id"] for d in found] == [waiting.id]
    assert len(client.ask("GET", "/decisions?limit=1", "viewer").json) == 1
    shown = client.ask("GET", f"/decisions/{waiting.id[:8]}", "viewer")
    assert msgspec.convert(shown.json, type(waiting), strict=False) == waiting
    assert client.ask("GET", "/incidents/i1", "viewer").json["entity"] == CATALOG
    late = client.ask("POST", f"/decisions/{ended.id}/votes", "approver", {"vote": "approve"})
    assert (late.status, late.json["code"]) == (409, "late")


def test_a_proposal_is_asked_for_in_the_name_of_who_asks(client: Client, embedded: Embedded) -> None:
    proposed = {"action": "scale_out", "target": "shop/catalog", "parameters": {"replicas": "2"}, "request": "monday",
            "reason": "token=hunter2hunter2"}  # fmt: skip
    first, again = (client.ask("POST", "/proposals", "operator", proposed) for _ in range(2))
    assert (first.status, first.json) == (202, again.json)
    (said, _) = (decode(raw).record for raw in read_all(embedded.broker, [PROPOSALS.name]))
    assert (said.requester, said.confidence, said.id) == ("operator", 0.0, first.json["proposal"])  # type: ignore[attr-defined]
    assert "hunter2" not in str(said)
    assert check_proposal(said, client.keys, now_ms()).name == "operator"  # type: ignore[arg-type]
    for changes in ({"action": "format_disk"}, {"parameters": {"replicas": "900"}}, {"parameters": {"x": "1"}}):
        assert client.ask("POST", "/proposals", "operator", proposed | changes).status == 409


def test_whose_key_is_not_on_this_host_is_told_so_before_anything_is_said(
    embedded: Embedded, home: Path, tmp_path: Path
) -> None:
    """The tokens of another issuer name people whom this host may not know."""
    rsa, jwks = RSAKey.generate_key(2048, {"kid": "one"}, private=True), tmp_path / "jwks.json"
    jwks.write_text(msgspec.json.encode(KeySet([rsa]).as_dict(private=False)).decode())
    said = {"iss": "https://login.example", "aud": "opsloop", "sub": "eve", "exp": 4_000_000_000}
    token = jwt.encode({"alg": "RS256", "kid": "one"}, said | {"roles": ["approver", "operator"]}, rsa)
    waiting = decision(DecisionState.PENDING, proposal(id="p9"), expires=now_ms() + 60_000)
    with Publisher(embedded.broker) as publisher:
        publisher.send(waiting)
    security = SecuritySettings(issuer=said["iss"], jwks=str(jwks))  # type: ignore[arg-type]
    with served(embedded.broker, home, security=security) as client:
        until(lambda: client.read_model.decisions)
        for path, body in (
            (f"/decisions/{waiting.id}/votes", {"vote": "approve"}),
            ("/proposals", {"action": "restart_service", "target": CATALOG}),
        ):
            answer = client.ask("POST", path, "", body, authorization=f"Bearer {token}")
            assert (answer.status, answer.json["code"]) == (409, "no_key"), answer.json
            assert answer.json["remedy"] == "Make one: opsloop user add NAME"
    assert not list(read_all(embedded.broker, [APPROVALS.name, PROPOSALS.name]))


def test_the_kill_switch_stops_this_host_and_tells_the_others(client: Client, embedded: Embedded, home: Path) -> None:
    assert client.ask("POST", "/kill-switch/on", "operator", {"reason": "smoke"}).status == 200
    assert "smoke" in LocalSwitch(home).said()
    until(lambda: client.read_model.switch.killed)
    assert client.ask("GET", "/kill-switch", "viewer").json["position"] == "on"
    assert client.ask("POST", "/kill-switch/off", "admin", {}).status == 200
    assert LocalSwitch(home).said() == ""
    until(lambda: not client.read_model.switch.killed)
    until_ = client.ask("POST", "/maintenance", "operator", {"scope": "shop/catalog", "minutes": 5}).json["until"]
    until(lambda: client.ask("GET", "/maintenance", "viewer").json == {"shop/catalog": until_})
    said = {(r.by, bool(r.signature)) for raw in read_all(embedded.broker, [SETTINGS.name])
            for r in [decode(raw).record]}  # type: ignore[attr-defined]  # fmt: skip
    assert said == {("operator", False), ("admin", True), ("operator", True)}


def test_without_a_broker_it_says_so_and_this_host_stops_all_the_same(
    client: Client, embedded: Embedded, home: Path
) -> None:
    embedded.down()
    answer = client.ask("POST", "/kill-switch/on", "operator", {"reason": "smoke"})
    assert (answer.status, answer.json["code"]) == (503, "no_broker")
    assert "have stopped" in answer.json["error"]
    assert LocalSwitch(home).said()
    embedded.up()


def test_who_asks_too_often_or_too_much_waits(embedded: Embedded, home: Path) -> None:
    with served(embedded.broker, home, ApiSettings(per_s=0.1, burst=5, logins_per_min=2)) as client:
        answers = [client.ask("GET", "/health") for _ in range(7)]
        assert [a.status for a in answers] == [200] * 5 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) >= 1
    with served(embedded.broker, home, ApiSettings(per_s=100, burst=100, logins_per_min=2)) as client:
        tries = [ask(client, "POST", "/tokens").status for _ in range(4)]
        assert tries == [401, 401, 429, 429]
        assert client.ask("POST", "/tokens", body=b"x" * 20_000).status == 413


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/proposals", {"action": "a", "target": "x y"}), ("/proposals", {"action": "a", "target": "shop", "more": 1}),
        ("/proposals", b"[" * 10_000), ("/proposals", b"\xff\x00"), ("/proposals", b""), ("/proposals", []),
        ("/maintenance", {"scope": "shop", "minutes": -1}), ("/maintenance", {"scope": "shop", "minutes": 1e400}),
        ("/maintenance", {"scope": "../..", "minutes": "many"}), ("/kill-switch/on", {"reason": "x" * 501}),
    ],
)  # fmt: skip
def test_a_request_out_of_bounds_is_refused_in_words(client: Client, path: str, body: Any) -> None:
    answer = client.ask("POST", path, "lead", body)
    assert answer.status in (400, 422), answer.body
    assert set(answer.json) == {"error", "code", "remedy"}


def test_what_was_sent_is_not_sent_back(client: Client) -> None:
    answer = client.ask("POST", "/tokens", body={"name": "ana", "password": ["hunter2"]})
    assert answer.status == 422
    assert b"hunter2" not in answer.body


def test_every_answer_has_its_headers_and_another_host_is_refused(client: Client) -> None:
    for answer in (client.ask("GET", "/health"), client.ask("GET", "/nothing"), client.ask("GET", "/me")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
    assert client.ask("GET", "/health", host="evil.example").status == 400
    assert client.ask("PUT", "/health").status == 405


def test_the_interface_describes_itself(client: Client) -> None:
    described = client.ask("GET", "/openapi.json", "viewer").json
    assert {(m.upper(), p) for p, ways in described["paths"].items() for m in ways} == set(ROUTES)
    for path, ways in described["paths"].items():
        for method, told in ways.items():
            assert any(status.startswith("2") for status in told["responses"]), (method, path)
            for status, answer in told["responses"].items():
                (content,) = answer["content"].values()
                assert content["schema"], (method, path, status)
    assert resolved(described, described["paths"]["/decisions"]["get"]["responses"]["200"])["type"] == "array"


def resolved(described: dict[str, Any], answer: Any) -> Any:
    """The schema of an answer. Fails when any reference in the document leads nowhere."""
    names = set(re.findall(r"#/components/schemas/([^\"]+)", json.dumps(described)))
    assert names <= set(described["components"]["schemas"])
    return answer["content"]["application/json"]["schema"]


def test_what_is_answered_is_what_is_described(client: Client, embedded: Embedded) -> None:
    waiting = decision(DecisionState.PENDING, proposal(id="p1"), expires=now_ms() + 60_000)
    with Publisher(embedded.broker) as publisher:
        for record in (waiting, incident()):
            publisher.send(record)
    until(lambda: client.read_model.decisions and client.read_model.incidents)
    for (method, path), answers in ANSWERS.items():
        if method != "GET":
            continue
        where = path.replace("{identity}", waiting.id if "decisions" in path else "i1")
        answer = client.ask("GET", where, "admin")
        assert answer.status in answers, (path, answer.body)
        msgspec.json.decode(answer.body, type=answers[answer.status])


def test_a_browser_finds_its_way(client: Client) -> None:
    assert client.ask("GET", "/").json["docs"] == "/docs"
    page = client.ask("GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert all(f"{method} {path}</code>" in page.body.decode() for method, path in ROUTES)
    assert "<td>lead, approver</td>" in page.body.decode() or "<td>approver, lead</td>" in page.body.decode()


TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8,
)  # fmt: skip
NAMES = ("vote", "reason", "action", "target", "parameters", "request", "scope", "minutes", "name", "password")
BODY = st.binary(max_size=60) | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5).map(
    lambda value: json.dumps(value).encode()
)
PART = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), max_size=12)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=st.sampled_from(sorted(ROUTES)), part=PART, query=PART, body=BODY, role=st.sampled_from(sorted(Role)))
def test_nothing_that_is_sent_breaks_it(
    client: Client, pair: tuple[str, str], part: str, query: str, body: bytes, role: Role
) -> None:
    method, path = pair
    where = path.replace("{identity}", quote(part, safe="") or "x") + (f"?limit={quote(query)}" if query else "")
    answer = client.ask(method, where, role, body if method == "POST" else None)
    assert answer.status < 500, (method, where, body, answer.body)
    assert path == "/docs" or isinstance(answer.json, dict | list)
    assert answer.headers["x-content-type-options"] == "nosniff"

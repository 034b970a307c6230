"""Rego in this process and at a real OPA server: equal answers; and a server that fails denies."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

from app.errors import UserError
from app.policy.opa import Opa
from app.policy.shipped import texts
from models.policy.base import Evaluator, PolicyFault
from models.policy.engine import Policies
from models.policy.facts import facts_of
from models.policy.rego import Rego
from models.versions import Book
from tests.builders import NOW, proposal
from tests.models.policy.rego_cases import INPUT, modules
from tests.opa import server
from tests.rules import GRANT, rule
from topics.policies import SystemFacts


@pytest.fixture(scope="module")
def opa() -> Iterator[Opa]:
    with server() as url:
        client = Opa(url, limit_s=5.0)
        yield client
        client.close()


def said(evaluator: Evaluator, name: str, body: str) -> object:
    """The document of a module, or that there is none."""
    package = f"opsloop.case_{name}"
    try:
        return evaluator.compile(f"package {package}\n\nimport rego.v1\n\n{body}\n", package).evaluate(INPUT)
    except PolicyFault:
        return "refused"


@pytest.mark.flow
def test_the_language_is_the_same_in_both(opa: Opa) -> None:
    cases = modules()
    different = {
        name: (here, there)
        for name, body in cases.items()
        if (here := said(Rego(), name, body)) != (there := said(opa, name, body))
    }
    assert different == {}
    assert len(cases) >= 170


POLICIES = (
    *texts(),
    rule(f'{GRANT}\nrequire_approval contains {{"role": "lead"}} if input.proposal.confidence < 0.8', name="sure"),
    rule('default allow := true\nallow := false if input.system.actions > 5', name="quota", kind="quota"),
    rule('reasons contains "x" if true', name="silent", enforcement="advisory"),
    rule('allow := 1 / input.proposal.attempt > 0', name="divides", scope="shop/cart"),
)  # fmt: skip


@pytest.mark.flow
def test_the_same_policies_come_to_the_same_rulings(opa: Opa) -> None:
    here, there = Policies(Rego(), POLICIES), Policies(opa, POLICIES)
    rng, effects = random.Random(6), set()
    for _ in range(300):
        proposed = proposal(
            action=rng.choice(["restart_service", "scale_in", "unheard_of"]), confidence=rng.random(),
            target=rng.choice(["shop/catalog/0", "shop/cart/1"]), attempt=rng.randint(0, 2),
        )  # fmt: skip
        system = SystemFacts("autonomous", storm=rng.random() < 0.5, actions=rng.randint(0, 9))
        facts = facts_of(proposed, system, rng.randint(0, 4), {}, NOW)
        one, other = here.rule(Book(), facts), there.rule(Book(), facts)
        assert [(r.policy, r.effect, r.enforced) for r in one.results] == [
            (r.policy, r.effect, r.enforced) for r in other.results
        ]  # fmt: skip
        assert (one.effect, one.role, one.mode) == (other.effect, other.role, other.mode)
        effects.add(one.effect)
    assert effects == {"allow", "deny", "require_approval", "degrade"}


@pytest.mark.flow
def test_what_opa_does_not_compile_is_invalid(opa: Opa) -> None:
    with pytest.raises(PolicyFault, match="invalid"):
        opa.compile("package opsloop.x\nallow if {", "opsloop.x")


def test_a_server_that_is_not_there_denies() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    ruling = Policies(Opa(url), texts()).rule(Book(), facts_of(proposal(), SystemFacts("autonomous"), 1, {}, NOW))
    assert ruling.effect == "deny"
    assert "OPA server" in ruling.denied


def test_a_server_that_keeps_silent_denies_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = Opa(f"http://127.0.0.1:{silent.getsockname()[1]}", limit_s=0.05)
        with pytest.raises(PolicyFault, match="timeout"):
            server.compile("package opsloop.x", "opsloop.x")


@pytest.mark.parametrize("url", ["", "ftp://x", "127.0.0.1:8181"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="OPA"):
        Opa(url)

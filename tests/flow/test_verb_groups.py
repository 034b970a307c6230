"""A group for each set of verbs: workers share the verbs of the loop, and one verb is never run by two groups."""

from __future__ import annotations

import pytest
from processes import opsloop, run, until, worker

from app.kafka.broker import Broker
from tests.flow.test_hops import AUTONOMOUS, anomaly, new_system, of, send
from topics.actions import COMMANDS, Command

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

FIRST, REST = "respond,decide,gate", "diagnose,approve,verify,label,record,attest"


def commands(broker: Broker, system: str) -> list[Command]:
    return of(broker, COMMANDS, Command, system)


def refused(*arguments: str) -> tuple[int, str]:
    """A worker that must not start: its exit code, and what it says."""
    ended = run(*arguments)
    return ended.process.returncode, ended.told()


def test_workers_with_some_verbs_each_do_together_what_one_with_all_does_and_take_over_from_it(own: Broker) -> None:
    before = [new_system() for _ in range(3)]
    with worker("loop", own, env=AUTONOMOUS):
        send(own, *(anomaly(f"{system}/catalog/0") for system in before))
        until(lambda: all(commands(own, system) for system in before))
        code, told = refused("worker", "loop", "--only", FIRST, "--broker", own.bootstrap)
        assert (code, "respond, decide, gate is run by 1 worker of group opsloop-loop" in told) == (2, True), told
    with opsloop("worker", "loop", "--only", FIRST, "--broker", own.bootstrap, env=AUTONOMOUS) as first:
        first.wait_for("ready")
        with opsloop("worker", "loop", "--only", REST, "--broker", own.bootstrap, env=AUTONOMOUS) as rest:
            rest.wait_for("ready")
            after = new_system()
            send(own, anomaly(f"{after}/catalog/0"))
            until(lambda: commands(own, after))
            assert [len(commands(own, system)) for system in (*before, after)] == [1] * 4, "nothing is done twice"
            code, told = refused("worker", "loop", "--broker", own.bootstrap)
            assert (code, "a verb belongs to one group" in told) == (2, True), told


def test_an_unknown_verb_and_verbs_of_another_role_are_refused_with_those_there_are(broker: Broker) -> None:
    for arguments, expected in (
        (("loop", "--only", "decide,gaet"), "no verb 'gaet'. --only takes some of describe, diagnose, respond, decide"),
        (("lane", "--only", "decide"), "--only chooses verbs of the loop"),
    ):
        code, told = refused("worker", *arguments, "--broker", broker.bootstrap)
        assert (code, expected in told) == (2, True), told

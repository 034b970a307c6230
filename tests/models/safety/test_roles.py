"""Every row of the role table with every role."""

from __future__ import annotations

import itertools

import pytest

from models.safety.roles import OPERATIONS, TOPICS, Role, may, may_read, may_write
from topics.catalog import ALL

PEOPLE = {Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.LEAD, Role.ADMIN}
EVERYBODY = PEOPLE | {Role.AGENT, Role.WORKER}
# what each operation needs, written down a second time: a change of the table must be meant
ALLOWED = {
    "read": EVERYBODY,
    "audit": {Role.OPERATOR, Role.APPROVER, Role.LEAD, Role.ADMIN, Role.WORKER},
    "propose": {Role.OPERATOR, Role.LEAD, Role.AGENT, Role.WORKER},
    "vote": {Role.APPROVER, Role.LEAD},
    "vote_as_lead": {Role.LEAD},
    "stop": {Role.OPERATOR, Role.APPROVER, Role.LEAD, Role.ADMIN},
    "resume": {Role.ADMIN},
    "users": {Role.ADMIN},
    "policies": {Role.ADMIN},
    "packs": {Role.ADMIN},
    "maintain": {Role.OPERATOR, Role.APPROVER, Role.LEAD, Role.ADMIN},
    "respond": {Role.OPERATOR, Role.APPROVER, Role.LEAD},
    "ratify": {Role.LEAD, Role.ADMIN},
    "label": {Role.OPERATOR, Role.APPROVER, Role.LEAD},
    "command": {Role.WORKER},
    "checkpoint": {Role.WORKER},
}


@pytest.mark.parametrize("topic", [topic.name for topic in ALL])
def test_every_topic_has_a_row(topic: str) -> None:
    assert topic in TOPICS


@pytest.mark.parametrize(("operation", "role"), list(itertools.product(OPERATIONS, Role)))
def test_every_operation_is_allowed_to_its_roles_alone(operation: str, role: Role) -> None:
    assert may([role], operation) is (role in ALLOWED[operation])


@pytest.mark.parametrize(("topic", "role"), list(itertools.product(TOPICS, Role)))
def test_every_topic_is_written_and_read_by_its_roles_alone(topic: str, role: Role) -> None:
    row = TOPICS[topic]
    assert may_write([role], topic) is (role in row.write)
    assert may_read([role], topic) is (role in row.read)
    if topic.startswith("opsloop.state."):
        assert row.read == {Role.WORKER}
    if role in (Role.VIEWER, Role.NODE):
        assert may_write([role], topic) is (role is Role.NODE and topic.startswith("opsloop.telemetry."))


@pytest.mark.parametrize("topic", ["decisions", "actions.commands", "actions.results", "verdicts", "audit", "refusals"])
def test_what_opsloop_says_is_said_by_its_workers_alone(topic: str) -> None:
    assert TOPICS[f"opsloop.{topic}"].write == {Role.WORKER}


def test_what_has_no_row_is_allowed_to_nobody() -> None:
    for role in Role:
        assert not may([role], "format_disk")
        assert not may_write([role], "opsloop.other")
        assert not may_read([role], "opsloop.other")
    assert not may([], "read")
    assert not may(["superuser"], "read")

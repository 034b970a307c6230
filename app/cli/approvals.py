"""`opsloop approve`, `reject`, `kill-switch`: what a person says to the loop."""

from __future__ import annotations

import getpass
from typing import Annotated, Literal

import typer

from app.broker import Broker
from app.cli.options import BrokerOption, JsonOption, broker_of, out, print_json
from app.errors import UserError
from topics.approvals import Approval
from topics.decisions import Decision, Verdict
from topics.settings import KILL_SWITCH, Setting
from topics.spec import derive, system_of

Identity = Annotated[str, typer.Argument(metavar="ID", help="Of a waiting decision; its beginning is enough")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the vote")]
Voter = Annotated[str, typer.Option("--as", help="Who votes; you by default")]


def register(app: typer.Typer) -> None:
    app.command()(approve)
    app.command()(reject)
    app.command("kill-switch")(kill_switch)


def cast(broker: Broker, decision: Decision, vote: Literal["approve", "reject"], voter: str, reason: str) -> Approval:
    """Publish one vote; return it when the broker has it."""
    from app.client import Publisher
    from app.clock import now_ms

    approval = Approval(
        id=derive("approval", decision.id, voter), decision=decision.id, system=system_of(decision.proposal.target),
        ts=now_ms(), voter=voter, vote=vote, reason=reason,
    )  # fmt: skip
    with Publisher(broker) as publisher:
        publisher.send(approval)
    return approval


def _vote(identity: str, vote: Literal["approve", "reject"], address: str, voter: str, reason: str, json: bool) -> None:
    from app.broker import require
    from app.clock import now_ms
    from app.story import decisions

    broker = broker_of(address)
    require(broker)
    found = [d for d in decisions(broker) if d.id.startswith(identity)]
    if len(found) != 1:
        what = "several decisions begin" if found else "no decision begins"
        raise UserError(f"{what} with {identity!r}", "See `opsloop decisions --waiting`", exit_code=1)
    decision = found[0]
    if decision.state is not Verdict.PENDING or now_ms() >= decision.expires:
        state = "expired" if decision.state is Verdict.PENDING else decision.state
        raise UserError(f"decision {decision.id} does not wait any more: it is {state}", exit_code=1)
    approval = cast(broker, decision, vote, voter or getpass.getuser(), reason)
    if json:
        print_json(approval)
    else:
        out.print(f"{vote}: {decision.proposal.action} on {decision.proposal.target} (decision {decision.id})")


def approve(
    identity: Identity, broker: BrokerOption = "", reason: Reason = "", voter: Voter = "", json: JsonOption = False
) -> None:
    """Say yes to a waiting decision.

    Example: `opsloop approve 4be1 --reason "seen it before"`
    """
    _vote(identity, "approve", broker, voter, reason, json)


def reject(
    identity: Identity, broker: BrokerOption = "", reason: Reason = "", voter: Voter = "", json: JsonOption = False
) -> None:
    """Say no to a waiting decision.

    Example: `opsloop reject 4be1 --reason "a deploy is under way"`
    """
    _vote(identity, "reject", broker, voter, reason, json)


def kill_switch(
    position: Annotated[str, typer.Argument(metavar="on|off", help="on: nothing acts any more")],
    broker: BrokerOption = "", reason: Reason = "", json: JsonOption = False,
) -> None:  # fmt: skip
    """Stop all acting, or allow it again. It stays as it is set across restarts.

    Example: `opsloop kill-switch on --reason "maintenance"`
    """
    from app.broker import require
    from app.client import Publisher
    from app.clock import now_ms

    if position not in ("on", "off"):
        raise UserError(f"the kill switch has no position {position!r}", "Say on or off")
    where = broker_of(broker)
    require(where)
    setting = Setting(name=KILL_SWITCH, value=position, ts=now_ms(), by=getpass.getuser(), reason=reason)
    with Publisher(where) as publisher:
        publisher.send(setting)
    if json:
        print_json(setting)
    else:
        out.print(f"kill switch is {position}")

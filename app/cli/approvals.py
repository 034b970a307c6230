"""`opsloop approve`, `reject`, `kill-switch`: what a person says to the loop."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.kafka.broker import Broker
from app.printing import out, print_json
from topics.decisions import DecisionState
from topics.refusals import Refusal
from topics.settings import ON, Setting

Identity = Annotated[str, typer.Argument(metavar="ID", help="Of a waiting decision; its beginning is enough")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the vote")]
Voter = Annotated[str, typer.Option("--as", help="Who says so; you by default")]


def register(app: typer.Typer) -> None:
    app.command()(approve)
    app.command()(reject)
    app.command("kill-switch")(kill_switch)
    app.command()(maintenance)


def _vote(identity: str, vote: Literal["approve", "reject"], address: str, voter: str, reason: str, json: bool) -> None:
    from app.clock import now_ms
    from app.history.queries import decision_of
    from app.kafka.broker import require
    from app.security.votes import cast_and_hear

    broker = broker_of(address)
    require(broker)
    decision = decision_of(broker, identity)
    if decision.state is not DecisionState.PENDING or now_ms() >= decision.expires:
        state = "expired" if decision.state is DecisionState.PENDING else decision.state
        raise UserError(f"decision {decision.id} does not wait any more: it is {state}", exit_code=1)
    approval, said = cast_and_hear(broker, decision, vote, voter or getpass.getuser(), reason)
    if isinstance(said, Refusal):
        raise UserError(f"the vote does not count: {said.code}, {said.detail}", "See opsloop user list", exit_code=1)
    if json:
        print_json(approval)
        return
    now = f"it is {said.state.replace('_', ' ')}" if said else "no worker has answered yet"
    out.print(
        f"{vote}: {decision.proposal.action} on {decision.proposal.target} (decision {decision.id}); {now}",
        soft_wrap=True,
    )


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
    broker: BrokerOption = "", reason: Reason = "", voter: Voter = "",
    site: Annotated[Path | None, typer.Option(help="Folder of an actuator on this host that was given one")] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Stop all acting, or allow it again. It stays as it is set across restarts.

    Actuators of this host stop at once, also while the broker is down; others as soon as they are told.

    Example: `opsloop kill-switch on --reason "maintenance"`
    """
    from app.security.messages import resumed, stopped
    from app.security.switch import LocalSwitch
    from app.settings import home

    if position not in ("on", "off"):
        raise UserError(f"the kill switch has no position {position!r}", "Say on or off")
    by = voter or getpass.getuser()
    switch = LocalSwitch(*([site] if site else []), home())
    if position == "on":
        _publish(broker_of(broker), setting := stopped(by, reason, switch))
    else:
        _publish(broker_of(broker), setting := resumed(by, reason))
        switch.turn_off("file")
    if json:
        print_json(setting)
    else:
        out.print(f"kill switch is {position}")


def maintenance(
    scope: Annotated[str, typer.Argument(help="A system, service or instance: `shop`, `shop/catalog`")],
    minutes: Annotated[int, typer.Option(min=0, max=100_000, help="For so long from now; 0 ends it")] = 60,
    broker: BrokerOption = "", reason: Reason = "", voter: Voter = "", json: JsonOption = False,
) -> None:  # fmt: skip
    """Nothing is changed within a scope while people work on it.

    Example: `opsloop maintenance shop/catalog --minutes 30`
    """
    from app.kafka.broker import require
    from app.security.messages import maintained, publish

    where = broker_of(broker)
    require(where)
    setting = maintained(scope, minutes, voter or getpass.getuser(), reason)
    publish(where, setting)
    if json:
        print_json(setting)
    else:
        out.print(
            f"{scope} is under maintenance for {minutes} minutes" if minutes else f"maintenance of {scope} is over"
        )


def _publish(broker: Broker, setting: Setting) -> None:
    from app.kafka.broker import probe
    from app.security.messages import publish

    if cause := probe(broker):
        done = "the actuators of this host have stopped" if setting.value == ON else "nothing was changed"
        raise UserError(f"no broker at {broker.bootstrap} ({cause}): {done}, others were not told", exit_code=1)
    publish(broker, setting)

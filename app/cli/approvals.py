"""`opsloop approve`, `reject`, `kill-switch`, `maintenance`: what people tell the loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from app.cli.options import BrokerOption, JsonOption, broker_of, user_name
from app.errors import UserError
from app.printing import out, print_json
from topics.decisions import DecisionState
from topics.refusals import Refusal
from topics.settings import SETTINGS, Setting

if TYPE_CHECKING:
    from app.security.switch import Way

TRY_AGAIN = "Mend it and say it again, or stop the workers"

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
    approval, said = cast_and_hear(broker, decision, vote, voter or user_name(), reason)
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

    Actuators of this host stop at once, also while the broker is down; others as soon as they are told. Each way is
    tried and told. Exit code 1 when one of them failed.

    Example: `opsloop kill-switch on --reason "maintenance"`
    """
    from app.security.messages import resume, stop, tell_switch
    from app.security.switch import of_this_host
    from app.settings import home

    if position not in ("on", "off"):
        raise UserError(f"the kill switch has no position {position!r}", "Say on or off")
    by = voter or user_name()
    switches = of_this_host(*([site] if site else []), home())
    if position == "on":
        setting, ways = stop(by, reason, *switches)
        ways.append(tell_switch(lambda: broker_of(broker), setting))
    else:
        setting = resume(by, reason, _stop_in_force(broker))
        ways = [tell_switch(lambda: broker_of(broker), setting)]
        if not ways[0].error:
            ways += [way for switch in switches for way in switch.turn_off("file")]
    _moved(position, setting, ways, json)


def maintenance(
    scope: Annotated[str, typer.Argument(help="A system, service or instance, or a glob: `shop`, `*/catalog`")],
    minutes: Annotated[int, typer.Option(min=0, max=100_000, help="For so long from now; 0 ends it")] = 60,
    broker: BrokerOption = "", reason: Reason = "", voter: Voter = "", json: JsonOption = False,
) -> None:  # fmt: skip
    """Nothing is changed within a scope while people work on it.

    Example: `opsloop maintenance shop/catalog --minutes 30`
    """
    from app.kafka.broker import require
    from app.security.messages import maintain, publish

    where = broker_of(broker)
    require(where)
    setting = maintain(scope, minutes, voter or user_name(), reason)
    publish(where, setting)
    if json:
        print_json(setting)
    else:
        out.print(
            f"{scope} is under maintenance for {minutes} minutes" if minutes else f"maintenance of {scope} is over"
        )


def _stop_in_force(address: str) -> str:
    """The id of the stop that is to end; empty: there is none, or the broker does not tell."""
    from app.kafka.broker import probe
    from app.security.standing import standing
    from app.settings import home

    try:
        broker = broker_of(address)
        return "" if probe(broker, 2.0) else standing(broker, home()).stop
    except UserError:
        return ""


def _moved(position: str, setting: Setting, ways: list[Way], json: bool) -> None:
    """Print what each way of moving the kill switch led to. Raises UserError when one of them failed."""
    from app.security.switch import failures

    if json:
        print_json(msgspec.to_builtins(setting) | {"ways": ways})
    failed = list(failures(ways))
    topic = next(way for way in ways if way.way == SETTINGS.name)
    files = [way.way for way in ways if way is not topic and not way.error]
    if position == "on" and failed:
        host = (
            f"the actuators of this host have stopped ({files[0]})" if files else "this host has no file that says so"
        )
        others = "others were not told" if topic.error else "all workers that the broker reaches were told"
        raise UserError(f"{'; '.join(failed)}: {host}, {others}", TRY_AGAIN, exit_code=1)
    if failed:
        done = "nothing was changed" if topic.error else "the topic says off, and this host's actuators stay stopped"
        raise UserError(f"{'; '.join(failed)}: {done}", TRY_AGAIN, exit_code=1)
    if not json:
        out.print(f"kill switch is {position}")

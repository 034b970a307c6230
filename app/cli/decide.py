"""`opsloop decide`, `propose`: ask what should be done, and ask for it to be done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app.cli.options import BrokerOption, JsonOption, broker_of, user_name
from app.printing import out, print_json, print_table
from topics.decisions import Decision
from topics.proposals import Proposal

Who = Annotated[str, typer.Option("--as", help="Who asks; you by default")]
Why = Annotated[str, typer.Option("--reason", help="Why; it is kept with the proposal")]

Force = Annotated[bool, typer.Option("--force", help="Propose it although nothing is known of the target")]


def register(app: typer.Typer) -> None:
    app.command()(decide)
    app.command()(propose)


def decide(
    file: Annotated[Path | None, typer.Argument(help="A question as JSON or TOML: kind, target, facts, …")] = None,
    kind: Annotated[str, typer.Option(help="scaling, provisioning, incident_response, optimisation, …")] = "",
    target: Annotated[str, typer.Option(help="A service or instance: shop/catalog")] = "",
    fact: Annotated[list[str] | None, typer.Option(help="name=number, repeatable: utilization=0.9")] = None,
    propose_it: Annotated[bool, typer.Option("--propose", help="Publish the chosen option as a proposal")] = False,
    broker: BrokerOption = "", who: Who = "", json: JsonOption = False, force: Force = False,
) -> None:  # fmt: skip
    """Show the options for a situation, each with its score by part, and what policy and the mode would say.

    Nothing is changed, unless --propose is given; then the proposal meets the gate as every other one.

    Example: `opsloop decide --kind scaling --target shop/catalog --fact utilization=0.91`
    """
    from app.decisions import requests as asking
    from app.settings import load

    question = asking.read(file) if file else asking.Question(
        kind=asking.kind_named(kind), target=target, facts=asking.facts(fact or []),
    )  # fmt: skip
    answer = asking.answer(question, load(), who or user_name())
    if propose_it:
        answer = msgspec.structs.replace(
            answer, proposal=asking.publish(answer.proposal, broker_of(broker), force=force)
        )
    if json:
        print_json({"kind": "decide", "proposed": propose_it, "decision": answer})
    else:
        _show(answer)
        if propose_it:
            _published(answer.proposal)


def propose(
    action: Annotated[str, typer.Argument(help="Of the catalogue: restart_service, scale_out, …")],
    target: Annotated[str, typer.Argument(help="A service or instance: shop/catalog/0")],
    parameter: Annotated[list[str] | None, typer.Option("--set", help="name=value, repeatable: replicas=2")] = None,
    reason: Why = "", broker: BrokerOption = "", who: Who = "", json: JsonOption = False,
    expect: Annotated[str, typer.Option(help="A metric of the target that is to be ordinary again, or a glob")] = "",
    force: Force = False,
) -> None:  # fmt: skip
    """Ask for an action. It meets the gate as every other proposal, and always needs somebody else's yes.

    The proposal is signed with your key. Its verdict goes by what you expect, else by the actuator's own result.

    Example: `opsloop propose restart_service shop/catalog/0 --reason "memory looks odd"`
    """
    from app.decisions import requests as asking

    proposal = asking.proposal(action, target, asking.pairs(parameter or []), who or user_name(), reason, expect)
    proposal = asking.publish(proposal, broker_of(broker), force=force)
    if json:
        print_json(proposal)
    else:
        _published(proposal)


def _published(proposal: Proposal) -> None:
    out.print(
        f"proposed: {proposal.action} on {proposal.target} (proposal {proposal.id}). See `opsloop decisions --waiting`",
        soft_wrap=True, markup=False,
    )  # fmt: skip


def _show(answer: Decision) -> None:
    proposal = answer.proposal
    out.print(f"{proposal.kind}: {'; '.join(proposal.reasons)}", soft_wrap=True)
    print_table("Options", ("option", "sure", "score", "parts", "chance", "why not"), (
        (
            " ".join((o.action, *(f"{k}={v}" for k, v in o.parameters.items()), "on", o.target)),
            f"{o.confidence:.2f}", f"{o.score:.2f}", " ".join(f"{k} {v:+.2f}" for k, v in o.parts.items() if v),
            f"{o.propensity:.2f}", o.why_not or "[green]chosen[/green]",
        )
        for o in proposal.options
    ))  # fmt: skip
    for result in answer.policy:
        said = ": " + ", ".join(result.reasons) if result.reasons else ""
        out.print(f"policy {result.policy}: {result.effect}{said}", soft_wrap=True)
    out.print(f"{answer.state} (mode {answer.mode}): {'; '.join(answer.reasons)}")

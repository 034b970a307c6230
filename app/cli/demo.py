"""`opsloop demo`, `opsloop break`: the loop on a real small site, and how to hurt it."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import JsonOption
from app.errors import UserError
from app.printing import err, escaped, marked, out, print_json

MODES = {"ask": "approve", "auto": "autonomous", "off": "observe"}

BANNER = """
[bold green]Everything runs.[/bold green] Kafka is at [bold]{bootstrap}[/bold]. In another terminal:

  export OPSLOOP_BROKER={bootstrap} OPSLOOP_HOME={home}
  opsloop watch signals.anomalies incidents decisions     what the loop says
  opsloop break kill:catalog                              kill a service; others: hang leak slow surge errors
  opsloop decisions --waiting ; opsloop approve ID        you are asked before anything acts
  opsloop propose restart_service shop/cart --as olga     and then --as paula to approve it
  opsloop explain ID                                      from the sample to the verdict
"""


def register(app: typer.Typer) -> None:
    app.command()(demo)
    app.command("break")(break_)


def demo(
    break_: Annotated[
        list[str] | None,
        typer.Option("--break", metavar="FAULT[:SERVICE]", help="Break this once the ordinary is known; repeatable"),
    ] = None,
    approve: Annotated[
        str, typer.Option(help="ask: a person approves each action; auto: the loop acts by itself; off: it only looks")
    ] = "ask",
    until: Annotated[str, typer.Option(help="resolved: end when every --break was cured")] = "",
    seconds: Annotated[float, typer.Option("--for", min=0, metavar="SECONDS", help="End after so long")] = 0,
    limit: Annotated[float, typer.Option(min=1, help="Seconds that one fault may take")] = 120,
    broker: Annotated[str, typer.Option("--broker", help="Use this Kafka instead of the in-memory one")] = "",
    folder: Annotated[Path | None, typer.Option(help="Keep logs and the site here")] = None,
    json: JsonOption = False,
) -> None:
    """Start a small real site and the loop around it, on an in-memory Kafka: nothing else is needed.

    Real processes serve real requests; you break them and watch the loop detect, explain, decide, act and verify.

    Example: `opsloop demo --break kill:catalog --approve auto --until resolved --json`

    Exit code: 0 when all went well; 1 when a fault was not cured, or something acted without a fault.
    """
    from app.demo.run import DemoPlan, broker_for, running
    from app.demo.view import show, tell
    from app.settings import home

    if approve not in MODES or until not in ("", "resolved"):
        raise UserError("--approve takes ask, auto or off; --until takes resolved", "See opsloop demo --help")
    if until and not break_:
        raise UserError("--until resolved needs something to resolve", "Add --break kill:catalog")
    plan = DemoPlan(MODES[approve], tuple(break_ or ()), bool(until), seconds, limit, folder)

    def say(text: str) -> None:
        err.print(f"· {text}")

    with broker_for(broker, say) as where, running(where, plan, say) as running_demo:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: running_demo.over.set())
        err.print(marked(BANNER.format(bootstrap=where.bootstrap, home=escaped(home()))), soft_wrap=True)
        if left := running_demo.learning_s():
            say(f"learning what is ordinary, ready in about {left:.0f} s: faults wait until then")
        script = threading.Thread(target=running_demo.script, name="script", daemon=True)
        script.start()
        if seconds:
            timer = threading.Timer(seconds, running_demo.over.set)
            timer.daemon = True
            timer.start()
        if sys.stdin.isatty() and err.is_terminal and not json:
            show(running_demo, err)
        else:
            tell(running_demo, err)
        script.join(5)
        report = running_demo.report()
    if json:
        print_json(report)
    faults = report["faults"]
    assert isinstance(faults, list)
    acted_alone = not faults and not break_ and report["effects"] and approve == "auto"
    if len(faults) < len(break_ or ()) or (until and not all(f.resolved for f in faults)) or acted_alone:
        raise typer.Exit(1)


def break_(
    fault: Annotated[str, typer.Argument(metavar="FAULT[:SERVICE]", help="kill, hang, leak, slow, surge or errors")],
    json: JsonOption = False,
) -> None:
    """Break a service of the running demo. While it learns what is ordinary, the fault waits.

    Example: `opsloop break slow:catalog`
    """
    from app.demo import faults, learning
    from app.demo.site import Site

    name, service = faults.parse(fault)
    site = Site.attach()
    learning.wait(site.layout.folder, lambda text: err.print(f"· {text}"))
    done = faults.inject(site, name, service)
    if json:
        print_json({"fault": done.fault, "service": done.service, "entity": done.entity, "injected_at": done.ts})
    else:
        out.print(f"{done.fault}: {done.entity}")

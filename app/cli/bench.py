"""`opsloop bench`: measurements, each with `--json` printing one object as its last line."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import JsonOption

benches = typer.Typer(no_args_is_help=True, help="Measure this machine.")


def register(app: typer.Typer) -> None:
    app.add_typer(benches, name="bench")


@benches.command()
def loop(
    broker: Annotated[str, typer.Option("--broker", help="A Kafka for tests; the in-memory one if none is given")] = "",
    count: Annotated[int, typer.Option(help="Anomalies to publish")] = 200,
    rate: Annotated[float, typer.Option(help="Anomalies a second")] = 20,
    json: JsonOption = False,
) -> None:
    """From an anomaly to its signed-off command: p50 and p99 of each hop.

    Example: `opsloop bench loop --json`
    """
    from app.bench import loop as bench

    bench.run(broker, count, rate, json)

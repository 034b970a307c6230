"""`opsloop bench`: measurements, each with `--json` printing one object as its last line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.options import JsonOption

# not the `BrokerOption` of other commands: a measurement must not load the broker that OPSLOOP_BROKER names
BenchBrokerOption = Annotated[str, typer.Option("--broker", help="A Kafka for tests; one is started if none is given")]

benches = typer.Typer(no_args_is_help=True, help="Measure this machine.")


def register(app: typer.Typer) -> None:
    app.add_typer(benches, name="bench")


@benches.command()
def loop(
    broker: Annotated[str, typer.Option("--broker", help="A Kafka for tests; the in-memory one if none is given")] = "",
    count: Annotated[int, typer.Option(min=1, help="Anomalies to publish")] = 200,
    rate: Annotated[float, typer.Option(min=0.1, help="Anomalies a second")] = 20,
    json: JsonOption = False,
) -> None:
    """From an anomaly to its signed-off command: p50 and p99 of each hop.

    Example: `opsloop bench loop --json`
    """
    from app.bench import loop as bench

    bench.run(broker, count, rate, json)


@benches.command()
def security(
    count: Annotated[int, typer.Option(min=10, help="How often each is done")] = 2_000, json: JsonOption = False
) -> None:
    """What a signature, the actuator's checks and an audit entry cost, in µs.

    Example: `opsloop bench security --json`
    """
    from app.bench import security as bench

    bench.run(count, json)


@benches.command()
def decide(
    count: Annotated[int, typer.Option(min=10, help="How often each is done")] = 2_000, json: JsonOption = False
) -> None:
    """From an incident with five options to the gate's answer with 100 policies, and what each part costs.

    Example: `opsloop bench decide --json`
    """
    from app.bench import decision as bench

    bench.run(count, json)


@benches.command()
def domain(
    entities: Annotated[int, typer.Option(min=10, help="Entities of the domain")] = 10_000, json: JsonOption = False
) -> None:
    """Symptoms a second that one correlation domain carries on one core, in memory.

    Example: `opsloop bench domain --entities 10000 --json`
    """
    from app.bench import domain as bench

    bench.run(entities, json)


@benches.command()
def calibration(
    runs: Annotated[int, typer.Option(min=10, help="Runs of each tier that keeps its promise")] = 1_000,
    json: JsonOption = False,
) -> None:
    """Simulated outcomes: calibration error under drift, false demotions, and outcomes until a broken tier is demoted.

    Example: `opsloop bench calibration --json`
    """
    from app.bench import calibration as bench

    bench.run(runs, json)


@benches.command()
def policies(
    count: Annotated[int, typer.Option(min=10, help="Rulings")] = 20_000,
    decisions: Annotated[int, typer.Option(min=10, help="Decisions to simulate")] = 100_000, json: JsonOption = False,
) -> None:  # fmt: skip
    """What a ruling costs with a hundred policies loaded, and a day of decisions against a changed policy.

    Example: `opsloop bench policies --json`
    """
    from app.bench import policies as bench

    bench.run(count, decisions, json)


@benches.command()
def detection(
    data: Annotated[Path, typer.Option(help="Folder with smd, asd, nab and kpi")] = Path("../shared/data"),
    protocol: Annotated[
        Literal["fixed", "loo"],
        typer.Option(help="Detectors as they are, or for each machine with the knob that is best on the others"),
    ] = "fixed",
    only: Annotated[str, typer.Option(help="Parts to run, of smd,asd,nab,kpi,noise,brief; all if none is given")] = "",
    processes: Annotated[int, typer.Option(min=1, help="Processes to split the work over")] = 2,
    json: JsonOption = False,
) -> None:
    """How right the detector is on labelled recordings and quiet on noise, beside River's trees and plain detectors.

    Example: `opsloop bench detection --data ../shared/data --protocol loo --only smd,asd`
    """
    from app.bench import detection as bench

    bench.run(data, json, protocol, [part.strip() for part in only.split(",") if part.strip()], processes)


@benches.command()
def lane(
    broker: BenchBrokerOption = "",
    points: Annotated[int, typer.Option(min=1, help="Points as JSON; ten times as many as frames")] = 3_000_000,
    json: JsonOption = False,
) -> None:
    """Points a second that one worker takes on one core, detection on, beside River's loop and Faust.

    Example: `opsloop bench lane --json`
    """
    from app.bench import lane as bench

    bench.run(broker, points, json)


@benches.command()
def wide(
    broker: BenchBrokerOption = "",
    points: Annotated[
        int, typer.Option(min=1, help="Points as JSON for one worker, and for two in a group")
    ] = 12_000_000,
    entities: Annotated[int, typer.Option(min=1, help="Entities with ten metrics each for one worker")] = 100_000,
    samples: Annotated[int, typer.Option(min=1, help="At each of these entities")] = 12,
    json: JsonOption = False,
) -> None:
    """What a second worker adds to a group, and what many entities take of one worker: rate, memory, restart.

    Example: `opsloop bench wide --json`
    """
    from app.bench import wide as bench

    bench.run(broker, points, entities, samples, json)


@benches.command()
def latency(
    broker: BenchBrokerOption = "",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long at each rate")] = 20.0,
    rates: Annotated[str, typer.Option(help="Background points a second")] = "100000,1000000",
    json: JsonOption = False,
) -> None:
    """From a sample's produce to its anomaly on the topic, under load.

    Example: `opsloop bench latency --json`
    """
    from app.bench import latency as bench

    bench.run(broker, seconds, [int(rate) for rate in rates.split(",")], json)


@benches.command()
def receive(
    broker: BenchBrokerOption = "",
    pods: Annotated[int, typer.Option(min=1, max=65_000, help="Pods, each an entity")] = 2_000,
    series: Annotated[int, typer.Option(min=1, max=1_000, help="Series of each pod")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Scrapes, 15 s apart in their stamps")] = 4,
    json: JsonOption = False,
) -> None:
    """What `opsloop receive` takes of remote write a second, its memory, and whether anything was merged or lost.

    Example: `opsloop bench receive --pods 2000 --series 100 --json`
    """
    from app.bench import receive as bench

    bench.run(broker, bench.Load(pods, series, rounds), json)


@benches.command()
def snapshots(
    broker: BenchBrokerOption = "",
    points: Annotated[int, typer.Option(min=1, help="Points in frames, taken five times")] = 480_000_000,
    entities: Annotated[int, typer.Option(min=1, help="Entities that they are of, with ten series each")] = 100_000,
    json: JsonOption = False,
) -> None:
    """What snapshots cost the lane, and how long a large state takes there and back.

    Example: `opsloop bench snapshots --json`
    """
    from app.bench import snapshots as bench

    bench.run(broker, points, entities, json)


@benches.command()
def state(
    broker: BenchBrokerOption = "",
    items: Annotated[int, typer.Option(min=20, help="Open items of 2 kB on the partition")] = 10_000,
    events: Annotated[int, typer.Option(min=100, help="Events, at most one an item")] = 10_000,
    json: JsonOption = False,
) -> None:
    """What an event costs the state of the loop, beside many open items.

    Example: `opsloop bench state --json`
    """
    from app.bench import state as bench

    bench.run(broker, items, events, json)


@benches.command()
def idle(
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic")] = 48,
    seconds: Annotated[float, typer.Option(min=1, help="How long nothing comes")] = 60,
    json: JsonOption = False,
) -> None:
    """What a loop worker costs that has nothing to do, and how late its deadlines are.

    Example: `opsloop bench idle --json`
    """
    from app.bench import idle as bench

    bench.run(partitions, seconds, json)


@benches.command()
def transport(
    broker: BenchBrokerOption = "",
    messages: Annotated[int, typer.Option(min=1, help="Messages that are read in each way")] = 60_000,
    json: JsonOption = False,
) -> None:
    """Our Faust transport beside stock Faust.

    Example: `opsloop bench transport --json`
    """
    from app.bench import transport as bench

    bench.run(broker, messages, json)


@benches.command()
def contamination(
    entities: Annotated[int, typer.Option(min=1, help="Entities of four series each")] = 60,
    seeds: Annotated[int, typer.Option(min=1, help="Recordings")] = 5,
    json: JsonOption = False,
) -> None:
    """Whether a fault that comes again is caught again, with forks at incidents and without.

    Example: `opsloop bench contamination --json`
    """
    from app.bench import contamination as bench

    bench.run(entities, seeds, json)


@benches.command()
def churn(
    days: Annotated[int, typer.Option(min=12, help="Days of event time")] = 100,
    pods: Annotated[int, typer.Option(min=1, help="Pods, all of which are replaced every day")] = 2_000,
    series: Annotated[int, typer.Option(min=1, help="Series of each pod")] = 100,
    json: JsonOption = False,
) -> None:
    """Whether names, memory and snapshot of a partition stay flat in a cluster that redeploys daily.

    Example: `opsloop bench churn --json`
    """
    from app.bench import churn as bench

    bench.run(days, pods, series, json)


@benches.command()
def history(
    broker: BenchBrokerOption = "",
    records: Annotated[int, typer.Option(min=100, help="Records of the history")] = 1_000_000,
    json: JsonOption = False,
) -> None:
    """Index a long history once, then ask for incidents, decisions and an explanation, each as a process of its own.

    Example: `opsloop bench history --records 100000 --json`
    """
    from app.bench import history as bench

    bench.run(broker, records, json)


@benches.command()
def recordings(
    data: Annotated[Path, typer.Option(help="Folder of recorded cases")],
    settings: Annotated[Path | None, typer.Option(help="Settings of the recorded site")] = None,
    pack: Annotated[list[Path] | None, typer.Option(help="A pack of the site (.toml); repeatable")] = None,
    aside: Annotated[list[str] | None, typer.Option(help="Entity whose incidents do not count; repeatable")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Cases that run at the same time")] = 1,
    json: JsonOption = False,
) -> None:
    """What the loop tells of recorded faults: how soon, of whom, why, what it would do, and what was false.

    Example: `opsloop bench recordings --data ../shared/data/realsite --aside shop/host --json`
    """
    from app.bench import recordings as bench

    bench.run(data, settings, pack or [], aside or [], processes, json)

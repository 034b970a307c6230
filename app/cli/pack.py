"""`opsloop pack`: what signals mean, written as TOML: tried, registered under a signature, taken back."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.text import Text

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.printing import err, out, print_json, print_table

if TYPE_CHECKING:
    from app.connection import Broker
    from app.knowledge.store import PackStore
    from topics.packs import PackVersion
    from topics.telemetry import Sample

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name in [pack]")]
By = Annotated[str, typer.Option("--as", help="An admin with a key on this host; you by default")]
Comment = Annotated[str, typer.Option("--comment", help="Why; it is kept with the version")]
HOUR_MS = 3_600_000

pack_app = typer.Typer(no_args_is_help=True, help="Packs: what signals mean. Try, register, list, compare, roll back.")


def register(app: typer.Typer) -> None:
    app.add_typer(pack_app, name="pack")


@pack_app.command("list")
def list_(broker: BrokerOption = "", json: JsonOption = False) -> None:
    """List the packs that hold, with the version, and what each says.

    Example: `opsloop pack list`
    """
    from models.knowledge.knowledge import Knowledge

    store = _known(broker)
    found, known = store.packs(), Knowledge.of(store.packs())
    rows = [
        {
            "name": p.name, "holds": store.holds(p.name), "kind": p.head.kind, "cures": len(p.cures),
            "symptoms": len({s.name for s in p.symptoms}), "causes": len({c.name for c in p.causes}),
            "what": p.head.what,
        } for p in found
    ]  # fmt: skip
    if json:
        print_json({"knowledge": known.hash, "packs": rows})
        return
    names = ("name", "holds", "kind", "symptoms", "causes", "cures", "what")
    shown = ([Text(str(row[name]) if name != "holds" or row[name] else "shipped") for name in names] for row in rows)
    print_table(f"Packs, knowledge {known.hash}", names, shown)


@pack_app.command()
def show(
    name: Name,
    version: Annotated[int | None, typer.Option(min=0, help="Another than the one that holds; 0: shipped")] = None,
    broker: BrokerOption = "",
) -> None:
    """Print a pack, and who signed which version of it.

    Example: `opsloop pack show redis`
    """
    store = _known(broker)
    source = store.source(name, version) if version is not None else store.held(name)[1]
    for number, word in sorted(store.versions.get(name, {}).items()):
        mark = "→" if number == store.holds(name) else " "
        out.print(Text(f"{mark} version {number}  {word.by}  {word.comment}", "dim"))
    out.print(Text(source.rstrip()), soft_wrap=True)


@pack_app.command("test")
def try_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Packs as .toml files")],
    on: Annotated[Path | None, typer.Option("--on", help="A recording of samples: what would have shown")] = None,
    broker: BrokerOption = "", json: JsonOption = False,
) -> None:  # fmt: skip
    """Try packs beside those that hold: what is wrong, what matches nothing, which symptoms a recording shows.

    Without a broker they are held against the shipped ones. Exit code 1 when one may not be registered.
    Example: `opsloop pack test garden.toml --on monday.jsonl.gz`.
    """
    from app.knowledge.recordings import recorded, series_of
    from app.knowledge.store import faults, pack_of
    from models.knowledge.checks import unseen
    from models.knowledge.knowledge import Knowledge

    store = _known(broker)
    packs = [pack_of(file, store.ready)[1] for file in files]
    together = {p.name: p for p in (*store.packs(), *packs)}
    samples: list[Sample] = recorded(on) if on else []
    seen = {series for all_ in series_of(samples).values() for series in all_}
    bad, report = False, []
    for file, pack in zip(files, packs, strict=True):
        wrong = faults(pack, store)
        idle = list(unseen(pack, seen, together.values())) if on else []
        bad = bad or bool(wrong)
        report.append({"file": str(file), "pack": pack.name, "wrong": wrong, "unseen": idle})
        if not json:
            for flaw in wrong:
                out.print(Text(f"✗ {flaw}", "red"), soft_wrap=True)
                out.print(Text(f"  {flaw.remedy}", "dim"), soft_wrap=True)
            for flaw in idle:
                out.print(Text(f"· {flaw}", "yellow"), soft_wrap=True)
                out.print(Text(f"  {flaw.remedy}", "dim"), soft_wrap=True)
            if not wrong:
                out.print(Text(f"✓ {file}: {len(pack.symptoms)} rules of symptoms, {len(pack.causes)} causes, "
                               f"{len(pack.cures)} cures"), soft_wrap=True)  # fmt: skip
    shown = []
    if on and not bad:
        from app.offline.packs import tried

        shown = tried(Knowledge.of(together.values()), samples)
        if not json:
            rows = ((s.entity, s.symptom, s.signal, f"{s.value:.4g}", f"{s.expected:.4g}",
                     f"{(s.onset - samples[0].ts) / 1000:.1f} s") for s in shown)  # fmt: skip
            names = ("entity", "symptom", "signal", "value", "expected", "after")
            print_table(f"What {on.name} shows", names, ([Text(cell) for cell in row] for row in rows))
    if json:
        print_json({"packs": report, "shown": shown})
    if bad:
        raise typer.Exit(1)


@pack_app.command("register")
def register_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .toml file")],
    comment: Comment = "", broker: BrokerOption = "", by: By = "", json: JsonOption = False,
) -> None:  # fmt: skip
    """Check a pack and make it the version that holds, everywhere, from the next sample on.

    See first what it would have changed: `opsloop replay --pack FILE`.
    Example: `opsloop pack register redis.toml --comment "our limit is 64 MB"`
    """
    from app.knowledge.store import faults, opened, pack_of

    where, store = opened(broker)
    text, pack = pack_of(file, store.ready)
    if wrong := faults(pack, store):
        raise UserError(f"{file} is not registered: {wrong[0]}", wrong[0].remedy, exit_code=1)
    word = store.next(text, comment)
    if word is None:
        out.print(f"{pack.name} holds already, with this text")
        return
    _say(where, [word], by, json, f"{word.name} version {word.version} holds from now on")


@pack_app.command()
def diff(
    what: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A pack, or a file to hold against what holds")],
    first: Annotated[
        int | None, typer.Option("--from", min=0, help="A version; the one before the other by default")
    ] = None,
    second: Annotated[int | None, typer.Option("--to", min=0, help="A version; the one that holds by default")] = None,
    broker: BrokerOption = "",
) -> None:
    """What differs between two versions of a pack, or between a file and what holds.

    Example: `opsloop pack diff redis --from 0 --to 1`. Exit code 1 when something differs.
    """
    import difflib

    from app.knowledge.store import pack_of

    store = _known(broker)
    if what.endswith(".toml"):
        new, pack = pack_of(Path(what), store.ready)
        version = store.holds(pack.name)
        old = store.source(pack.name, version) if version is not None else ""
        labels = f"{pack.name}/{'none' if version is None else version}", what
    else:
        to = second if second is not None else store.held(what)[0]
        since = first if first is not None else max((v for v in store.known(what) if v < to), default=to)
        old, new = store.source(what, since), store.source(what, to)
        labels = f"{what}/{since}", f"{what}/{to}"
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), *labels, lineterm=""))
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        out.print(Text(line, colours.get(line[:1], "")), soft_wrap=True)
    if lines:
        raise typer.Exit(1)


@pack_app.command()
def rollback(
    name: Name, comment: Comment = "", broker: BrokerOption = "", by: By = "", json: JsonOption = False
) -> None:
    """Let the version before the one that holds hold again; of the first one: none.

    Example: `opsloop pack rollback redis`
    """
    from app.knowledge.store import opened

    where, store = opened(broker)
    words, told = store.back(name, comment)
    _say(where, words, by, json, told)


@pack_app.command()
def new(
    name: Name,
    source: Annotated[str, typer.Option("--from", help="A recording of samples, or `topic`: the last hour's samples")],
    to: Annotated[Path | None, typer.Option("--out", help="The file; NAME.toml by default")] = None,
    entity: Annotated[str, typer.Option("--entity", help="Glob over entities; all by default")] = "*",
    broker: BrokerOption = "",
) -> None:
    """Draft a pack from series that no pack names yet, for you to correct.

    Example: `opsloop pack new garden --from monday.jsonl.gz`
    """
    from fnmatch import fnmatchcase

    from app.clock import now_ms
    from app.knowledge.draft import drafted
    from app.knowledge.recordings import recorded, series_of, told

    store, file = _known(broker), to or Path(f"{name}.toml")
    if file.exists():
        raise UserError(f"{file} is there already", "Give another --out")
    samples = told(broker_of(broker), now_ms() - HOUR_MS) if source == "topic" else recorded(Path(source))
    seen = {e: series for e, series in series_of(samples).items() if fnmatchcase(e, entity)}
    if not seen:
        raise UserError(f"no entity is like {entity}", "Look at --entity", exit_code=1)
    text = drafted(name, seen, store.packs())
    try:
        store.ready.load(text)
    except Exception as fault:
        raise UserError(f"{name!r} makes no pack ({fault})", "A name is lower case, as garden_beds") from None
    file.write_text(text)
    out.print(Text(f"written: {file}. Correct it, then: opsloop pack test {file}"))


@pack_app.command()
def coverage(
    on: Annotated[Path | None, typer.Option("--on", help="A recording, instead of what the workers have seen")] = None,
    entity: Annotated[str, typer.Option("--entity", help="Glob over entities; all by default")] = "*",
    broker: BrokerOption = "", json: JsonOption = False,
) -> None:  # fmt: skip
    """List the metrics that come and are in no pack: nothing follows from them but an anomaly.

    Example: `opsloop pack coverage --entity "shop/*"`
    """
    from fnmatch import fnmatchcase

    from app.knowledge.coverage import coverage as held
    from models.knowledge.knowledge import Knowledge

    seen = {e: series for e, series in _seen(on, broker).items() if fnmatchcase(e, entity)}
    if not seen:
        raise UserError(f"no entity is like {entity}", "Look at --entity", exit_code=1)
    found = held(Knowledge.of(_known(broker).packs()), seen)
    if json:
        print_json(found)
        return
    out.print(f"{found.named} of {found.series} series of {found.entities} entities are in a pack")
    if found.without:
        out.print(Text(f"without any: {', '.join(found.without)}"), soft_wrap=True)
    if found.unnamed:
        rows = ([Text(str(cell)) for cell in msgspec.structs.astuple(row)] for row in found.unnamed)
        print_table("In no pack", ("metric", "series", "entities", "as of"), rows)
        out.print(Text("Draft a pack for them: opsloop pack new NAME --from topic", "dim"))


def _seen(on: Path | None, broker: str) -> Mapping[str, Iterable[str]]:
    """Series by entity: of a recording, or of what the workers have learned."""
    from app.knowledge.learned import learned
    from app.knowledge.recordings import recorded, series_of
    from app.settings import load

    if on is not None:
        return series_of(recorded(on))
    found = learned(broker_of(broker), load().detection)
    return {one.entity: [series.series for series in one.series] for one in found}


def _known(address: str) -> PackStore:
    """The packs that hold at a broker; without one that answers: the shipped ones."""
    from app.kafka.broker import probe
    from app.knowledge.store import PackStore, load
    from app.security.keys import Keys
    from app.settings import home
    from app.settings import load as settings_of
    from app.shipped import packs

    settings_of()  # its actions are known from here on
    where = broker_of(address)
    if not address and probe(where, 2.0):
        err.print("no broker answers: only the shipped packs are known here")
        return PackStore(packs())
    return load(where, Keys(home()))


def _say(where: Broker, words: list[PackVersion], by: str, as_json: bool, told: str) -> None:
    from app.policy.versions import publish
    from app.security.keys import Keys
    from app.settings import home

    signed = publish(where, words, by or getpass.getuser(), Keys(home()))
    if as_json:
        print_json(signed[0])
    else:
        out.print(Text(told))

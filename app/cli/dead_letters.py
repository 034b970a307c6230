"""`opsloop dead-letters`: messages that were refused, and what to do with them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.printing import out, print_json, print_table

if TYPE_CHECKING:
    from app.history.dead_letters import Letter
    from app.kafka.broker import Broker
    from topics.spec import Raw, Topic

commands = typer.Typer(no_args_is_help=True, help="Messages that were refused: list, show, replay, purge.")

TopicOption = Annotated[str, typer.Option("--topic", help="Only what was read from this topic")]
CauseOption = Annotated[str, typer.Option("--cause", help="Only what was refused for this cause")]
SHOWN_BYTES = 4_000


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="dead-letters")


@commands.command("list")
def list_letters(
    topic: TopicOption = "", cause: CauseOption = "", broker: BrokerOption = "", as_json: JsonOption = False
) -> None:
    """Every refused message, oldest first, each once.

    Example: `opsloop dead-letters list --cause malformed`
    """
    from app.history.dead_letters import letters

    found = letters(_reached(broker), _topics(topic), cause)
    if as_json:
        print_json([_row(letter) for letter in found])
    elif found:
        rows = ((e.id[:12], _time(e), e.origin, e.cause, e.detail[:80], "refused again" * bool(e.again)) for e in found)
        print_table("", ("id", "refused", "origin", "cause", "detail", ""), ([Text(c) for c in row] for row in rows))
    else:
        out.print("Nothing was refused.")


@commands.command()
def show(
    letter: Annotated[str, typer.Argument(help="Its id, or how that begins")],
    broker: BrokerOption = "", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """One refused message as it came: headers, key and content.

    Example: `opsloop dead-letters show 3fa9`
    """
    from app.history.dead_letters import contents, one

    where = _reached(broker)
    found = one(where, letter)
    raw = contents(where, [found]).get(found.id)
    if raw is None:
        raise UserError(f"dead letter {found.id} is gone from its topic", "See opsloop dead-letters list")
    told = _row(found) | _content(raw)
    if as_json:
        print_json(told)
        return
    for name, value in told.items():
        out.print(Text(f"{name:9} {value}"))


@commands.command()
def replay(
    letters: Annotated[list[str] | None, typer.Argument(help="Their ids, or how those begin")] = None,
    topic: TopicOption = "", cause: CauseOption = "",
    everything: Annotated[bool, typer.Option("--all", help="Every letter there is")] = False,
    broker: BrokerOption = "", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Send refused messages to their topics again, each at most once however often this is asked for.

    Example: `opsloop dead-letters replay --topic telemetry.metrics --cause version`
    """
    from app.history.dead_letters import letters as find
    from app.history.dead_letters import one
    from app.history.dead_letters import replay as send

    chosen = _reached(broker)
    if letters:
        found = [one(chosen, start) for start in letters]
    elif topic or cause or everything:
        found = find(chosen, _topics(topic), cause)
    else:
        raise UserError("nothing is named to be sent again", "Give ids, --topic, --cause or --all")
    done = send(chosen, found)
    if as_json:
        print_json({"sent": [e.id for e in done.sent], "before": [e.id for e in done.before]})
    else:
        out.print(f"sent again: {len(done.sent)}, sent before and left alone: {len(done.before)}")


@commands.command()
def purge(
    topic: TopicOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Delete them without asking again")] = False,
    broker: BrokerOption = "", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Delete what stands on the dead-letter topics now. Nothing brings it back.

    Example: `opsloop dead-letters purge --topic telemetry.metrics --yes`
    """
    from app.history.dead_letters import purge as delete

    if not yes:
        raise UserError("dead letters that are deleted do not come back", "Look at them with list, then add --yes")
    count = delete(_reached(broker), _topics(topic))
    if as_json:
        print_json({"deleted": count})
    else:
        out.print(f"messages deleted: {count}")


def _reached(address: str) -> Broker:
    """The broker that is meant. Raises UserError: it does not answer."""
    from app.kafka.broker import require

    broker = broker_of(address)
    require(broker)
    return broker


def _topics(name: str) -> list[Topic]:
    from topics.catalog import named

    if not name:
        return []
    try:
        return [named(name.removesuffix(".dlq"))]
    except KeyError as error:
        raise UserError(str(error.args[0])) from None


def _row(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id, "topic": letter.topic, "cause": letter.cause, "detail": letter.detail,
        "origin": letter.origin, "refused": letter.arrived, "again": letter.again,
    }  # fmt: skip


def _content(raw: Raw) -> dict[str, Any]:
    value = raw.value or b""
    headers = {name: content.decode(errors="backslashreplace") for name, content in raw.headers}
    return {
        "key": (raw.key or b"").decode(errors="backslashreplace"), "headers": headers, "bytes": len(value),
        "content": value[:SHOWN_BYTES].decode(errors="backslashreplace"),
    }  # fmt: skip


def _time(letter: Letter) -> str:
    return datetime.fromtimestamp(letter.arrived / 1000, UTC).isoformat(sep=" ", timespec="seconds")

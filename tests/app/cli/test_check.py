"""`opsloop check`: what it prints, and its exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from app import plugins
from app.cli import build
from app.errors import UserError
from models.detection import members
from models.detection.base import Detector
from topics import formats

LINE = b"cpu,host=web01 usage_idle=92.5 1717000000000000000"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    file = tmp_path / "message"
    file.write_bytes(LINE)
    return file


@pytest.fixture(autouse=True)
def members_as_they_were() -> Iterator[None]:
    yield
    members.add([])
    formats.add({})


def check(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(build(), ["check", *words])
    if isinstance(done.exception, UserError):
        raise done.exception
    return done.exit_code, done.output


def test_a_shipped_format_is_tried_on_the_example_that_is_given(example: Path) -> None:
    code, shown = check("format", "influx", "--example", str(example))
    assert (code, shown.splitlines()[-1]) == (0, "format influx keeps all 7 promises")


def test_an_example_of_another_format_is_told_with_the_promise_that_it_breaks(example: Path) -> None:
    code, shown = check("format", "telegraf", "--example", str(example), "--json")
    assert code == 1
    first = msgspec.json.decode(shown)["promises"][0]
    assert first["promise"] == "each example holds at least one measurement or line of a log"
    assert first["broken"].startswith("example 1 is refused")


def test_a_detector_of_a_package_is_told_which_promise_it_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Moody(Detector):
        name, version, kind = "moody", 0, "point"

        def observe(self, x: object, learn: bool) -> tuple[float, int]:
            return -1.0, 0

        def dump(self) -> bytes:
            return b""

        def load(self, state: bytes) -> None: ...

    monkeypatch.setattr(plugins, "load", lambda group, name: Moody)
    code, shown = check("detector", "moody")
    assert code == 1
    lines = shown.splitlines()
    assert lines[0].startswith("broken  it has a name, a version from 1 on")
    assert lines[0].endswith("its version is 0")
    assert any(line.startswith("kept    its state as bytes") for line in lines)
    assert lines[-1].startswith("detector moody breaks ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["detector", "nobody"], "there is no detector 'nobody'. There are absolute_deviation, adwin"),
        (["format", "nobody", "--example", "x"], "there is no format 'nobody'. There are collectd"),
        (["format", "influx", "--example", "nothing-such"], "cannot read nothing-such"),
        (["actuator", "nobody"], "settings do not enable an actuator 'nobody'"),
        (["actuator", "nobody", "--action", "restart_service"], "an effect needs an action and a target"),
    ],
)
def test_what_cannot_be_tried_is_told_in_words(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check(*words)

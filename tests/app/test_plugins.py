"""Members of installed packages: found by entry points, imported when named, told in one line when they are no good."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app import plugins
from app.actuators.registry import with_others
from app.cli import build
from app.errors import UserError
from app.settings import Settings, load, masked
from app.testing import World
from models.actions import catalogue
from models.detection import members
from topics import formats
from topics.codec import Cause, DecodeError

Install = Callable[..., None]
DETECTOR = """
from models.detection.base import Detector
class Odd(Detector):
    name, version, kind = "odd", 1, "point"
    def observe(self, x, learn): return 0.0, -1
    def dump(self): return b""
    def load(self, state): pass
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package with entry points where Python looks: `install("name", "code", group="name = module:object")`."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def put(package: str, code: str, **entries: str) -> None:
        info = tmp_path / f"{package}-2.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.0\n")
        (info / "entry_points.txt").write_text("".join(f"[opsloop.{g}]\n{e}\n" for g, e in entries.items()))
        (tmp_path / f"{package}.py").write_text(code)

    plugins.tell.cache_clear()
    yield put
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    members.add([])
    formats.add({})
    catalogue.add([])


def settings_of(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "opsloop.toml"
    file.write_text(text)
    return load(file, {})


def test_a_detector_that_settings_name_is_imported_and_known(tmp_path: Path, install: Install) -> None:
    install("oddities", DETECTOR, detectors="odd = oddities:Odd")
    settings = settings_of(tmp_path, '[[detection.patterns]]\nlearners = ["odd", "gaussian"]\n')
    assert settings.detection.patterns[0].learners == ("odd", "gaussian")
    assert members.member("odd").__name__ == "Odd"


def test_what_settings_do_not_name_is_never_imported(tmp_path: Path, install: Install) -> None:
    install("sly", "raise SystemError('imported')", detectors="a = sly:A", formats="b = sly:b", actuators="c = sly:C")
    settings_of(tmp_path, '[[detection.patterns]]\nlearners = ["gaussian"]\n[ingest.topics]\nx = "influx"\n')
    assert [plugin.name for plugin in plugins.installed()] == ["c", "a", "b"]
    assert "sly" not in sys.modules


@pytest.mark.parametrize(
    "code", ["raise SystemError('two\\nlines')", "import nothing_such", "x = (", "Other = 1", "raise SystemExit(0)"]
)
def test_a_package_that_cannot_be_imported_is_told_in_one_line_and_left_out(
    code: str, tmp_path: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("broken", code, detectors="odd = broken:Odd", formats="beep = broken:Odd")
    text = '[[detection.patterns]]\nlearners = ["odd", "gaussian"]\n[ingest.topics]\nx = "beep"\ny = "influx"\n'
    settings = settings_of(tmp_path, text)
    assert settings.detection.patterns[0].learners == ("gaussian",)
    assert settings.ingest.topics == {"y": "influx"}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("opsloop: ") and "of broken 2.0 cannot be imported" in line for line in lines)


def test_a_name_that_two_packages_offer_belongs_to_neither(
    tmp_path: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("one", DETECTOR, detectors="odd = one:Odd")
    install("two", DETECTOR, detectors="odd = two:Odd")
    settings = settings_of(tmp_path, '[[detection.patterns]]\nlearners = ["odd"]\n')
    assert settings.detection.patterns[0].learners == ()
    assert capsys.readouterr().err == "opsloop: detector odd of one 2.0 is also offered by two 2.0; left out\n"


def test_a_package_cannot_take_the_place_of_what_is_shipped(tmp_path: Path, install: Install) -> None:
    names = {"detectors": "gaussian", "formats": "influx", "actuators": "supervisor"}
    install("thief", DETECTOR, **{group: f"{name} = thief:Odd" for group, name in names.items()})
    settings_of(tmp_path, '[[detection.patterns]]\nlearners = ["gaussian"]\n[ingest.topics]\nx = "influx"\n')
    assert members.member("gaussian").__module__ == "models.detection.gaussian"
    assert {plugins.state(plugin).partition(" of ")[2] for plugin in plugins.installed()} == {
        "thief 2.0 has the name of one that is shipped"
    }


@pytest.mark.parametrize(
    ("code", "wrong"),
    [("Odd = print", "is no subclass of models.detection.base.Detector"),
     (DETECTOR.replace('"odd"', '"even"'), "calls itself 'even', not 'odd'")],
)  # fmt: skip
def test_an_entry_point_that_is_no_detector_is_told(code: str, wrong: str, install: Install) -> None:
    install("other", code, detectors="odd = other:Odd")
    with pytest.raises(plugins.PluginError, match=f"detector odd of other 2.0 {wrong}"):
        plugins.load(plugins.DETECTORS, "odd")


@pytest.mark.parametrize(
    ("text", "said"),
    [('[[detection.patterns]]\nlearners = ["nobody"]\n', "there is no detector 'nobody'. There are .*gaussian"),
     ('[ingest.topics]\nx = "nobody"\n', "there is no format 'nobody'. There are .*influx"),
     ('[[actions]]\nname = "x"\n', r"missing required field `what` - at `\$.actions"),
     (None, "the name is not lower case with underscores")],
)  # fmt: skip
def test_settings_that_name_nothing_are_refused_in_words(text: str | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        settings_of(tmp_path, ACTION.replace("water_plants", "Water Plants") if text is None else text)


ACTION = """
[[actions]]
name = "water_plants"
what = "water them"
when_to_use = "they are dry"
when_not_to_use = "it rains"
preconditions = ["there is water"]
targets = ["service"]
verification = { what = "they are wet", hold_s = 1.0 }
cooldown_s = 1.0
blast_radius = 1
cost = 0.0
risk = "low"
actuators = ["garden"]
"""


def test_an_action_of_the_settings_is_in_the_catalogue_until_other_settings_are_loaded(
    tmp_path: Path, install: Install
) -> None:
    settings_of(tmp_path, ACTION)
    assert catalogue.ACTIONS["water_plants"].actuators == ("garden",)
    settings_of(tmp_path, "")
    assert "water_plants" not in catalogue.ACTIONS
    assert catalogue.ACTIONS == catalogue.SHIPPED


GARDEN = """
class Garden:
    name = "garden"
    def __init__(self, hose): self.hose = hose
    def can(self, action, target): return None if self.hose else "there is no hose"
    def run(self, command): raise OSError("the hose burst")
    def probe(self, command): raise OSError("it is dark")
"""
ENABLED = '[actuators]\nenabled = ["garden"]\nsystems = ["park"]\n[actuators.options.garden]\nhose = "red"\n'


def test_an_actuator_that_settings_enable_serves_its_systems_beside_the_workers_own(
    tmp_path: Path, install: Install
) -> None:
    install("garden_tools", GARDEN, actuators="garden = garden_tools:Garden")
    actuator, audiences = with_others(World(), "shop", settings_of(tmp_path, ACTION + ENABLED).actuators)
    assert audiences == ["hands/shop", "garden/park"]
    assert actuator.can("water_plants", "park/roses") is None
    assert actuator.can("restart_service", "shop/cart") == "no actuator here does restart_service"


def test_an_actuator_that_settings_do_not_enable_is_not_loaded(tmp_path: Path, install: Install) -> None:
    install("garden_tools", "raise SystemError", actuators="garden = garden_tools:Garden")
    own = World()
    assert with_others(own, "shop", settings_of(tmp_path, ACTION).actuators) == (own, ["hands/shop"])
    assert "garden_tools" not in sys.modules


def test_an_actuator_that_cannot_be_made_is_told_and_left_out(
    tmp_path: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("garden_tools", GARDEN, actuators="garden = garden_tools:Garden")
    own = World()
    settings = settings_of(tmp_path, ACTION + ENABLED.replace("hose", "rope"))
    assert with_others(own, "shop", settings.actuators) == (own, ["hands/shop"])
    assert "actuator garden cannot be made with its options: TypeError" in capsys.readouterr().err


def test_an_actuator_that_nobody_offers_ends_the_start_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no actuator 'garden'"):
        with_others(World(), "shop", settings_of(tmp_path, ENABLED).actuators)


def test_a_reader_of_a_package_that_raises_anything_refuses_the_message_alone() -> None:
    def bad(content: object) -> list[formats.Found]:
        raise SystemError("what is this?")

    formats.add({"bad": bad, "wrong": lambda content: [content]})
    try:
        with pytest.raises(DecodeError, match="not as bad says it") as refused:
            formats.read({"a": 1}, b"key", "bad")
        assert refused.value.cause is Cause.MALFORMED
        with pytest.raises(DecodeError, match="the reader of wrong gave dict"):
            formats.read({"a": 1}, b"key", "wrong")
    finally:
        formats.add({})


def test_the_list_of_plugins_says_what_is_wrong_with_which_package(install: Install) -> None:
    install("oddities", DETECTOR, detectors="odd = oddities:Odd")
    shown = CliRunner().invoke(build(), ["check", "plugins", "--json"])
    assert shown.exit_code == 0
    assert '"name":"odd","package":"oddities 2.0","wrong":""' in shown.output
    install("broken", "raise SystemError('no')", notifiers="bell = broken:Bell")
    shown = CliRunner().invoke(build(), ["check", "plugins", "--json"])
    assert shown.exit_code == 1
    assert "notifier bell of broken 2.0 cannot be imported: SystemError: no" in shown.output


def test_masking_a_text_looks_for_no_plugin_and_leaves_the_catalogue_as_it_is(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server masks every reason in a thread, while others read the catalogue."""
    settings_of(tmp_path, ACTION)
    monkeypatch.setattr(plugins, "_load_all", lambda *_: pytest.fail("it looked for plugins"))
    monkeypatch.setenv("OPSLOOP_SAFETY__MASKS", '{"customer": "K-[0-9]{6}"}')
    assert "K-123456" not in masked("for K-123456")
    assert "water_plants" in catalogue.ACTIONS

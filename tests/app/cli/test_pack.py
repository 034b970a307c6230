"""`opsloop pack` and `opsloop doctor` on packs: as an admin types it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from app.cli import build
from app.client import Publisher
from app.errors import UserError
from app.kafka.broker import Broker
from app.kafka.embedded import Embedded
from app.security.keys import Keys
from app.shipped import packs
from app.testing import pack_of
from models.knowledge.base import read
from models.safety.roles import Role
from tests.builders import GARDEN, NOW
from topics.telemetry import Sample

Typed = Callable[..., str]
SIGNING = ("register", "rollback")
OUTAGE = slice(400, 460)  # of the samples of `recording`


@pytest.fixture
def typed(embedded: Embedded, home: Path) -> Typed:
    """Types `opsloop pack …` as ada, who is an admin."""
    Keys(home).add("ada", (Role.ADMIN,))
    Keys(home).add("ben", (Role.APPROVER,))

    def run(*words: str, code: int = 0, by: str = "ada") -> str:
        line = ["pack", *words, *(("--as", by) if words[0] in SIGNING else ()), "--broker", embedded.bootstrap]
        result = CliRunner().invoke(build(), line, env={"COLUMNS": "200"})
        if isinstance(result.exception, UserError):
            raise result.exception
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout

    return run


def written(folder: Path, text: str = GARDEN) -> str:
    file = folder / "garden.toml"
    file.write_text(text)
    return str(file)


def recording(folder: Path) -> str:
    """Ten minutes of a server that answers with errors for one of them."""
    counts = {"200": 0.0, "500": 0.0}
    lines = []
    for second in range(600):
        broken = second in range(600)[OUTAGE]
        counts["200"] += 10.0 + second % 3
        counts["500"] += 8.0 if broken else 0.0
        metrics = {f'http_requests_total{{status="{code}"}}': count for code, count in counts.items()}
        metrics |= {"up": 1.0, "soil.moisture": 0.3, "beds_queue_depth": 1.0, "bed_wait_seconds_sum": counts["200"]}
        metrics["bed_wait_seconds_count"] = counts["200"]
        lines.append(msgspec.json.encode(Sample(entity="farm/bed/0", ts=NOW + second * 1_000, metrics=metrics)))
    file = folder / "monday.jsonl.gz"
    file.write_bytes(gzip.compress(b"\n".join(lines)))
    return str(file)


def holds(typed: Typed, name: str = "garden") -> object:
    rows = json.loads(typed("list", "--json"))["packs"]
    return next((row["holds"] for row in rows if row["name"] == name), "unheard of")


def test_versions_are_counted_and_the_newest_holds_until_it_is_rolled_back(typed: Typed, tmp_path: Path) -> None:
    assert holds(typed) == "unheard of"
    before = json.loads(typed("list", "--json"))["knowledge"]
    assert "garden version 1 holds" in typed("register", written(tmp_path), "--comment", "a dry summer")
    assert json.loads(typed("list", "--json"))["knowledge"] != before
    assert "holds already" in typed("register", written(tmp_path))
    typed("register", written(tmp_path, GARDEN.replace("0.9", "0.8")))
    assert holds(typed) == 2
    assert "-score = 0.9" in typed("diff", "garden", code=1)
    assert "a dry summer" in typed("show", "garden")
    assert "score = 0.9" in typed("show", "garden", "--version", "1")
    assert "garden version 1 holds again" in typed("rollback", "garden")
    assert holds(typed) == 1
    assert "no version of garden holds" in typed("rollback", "garden")
    assert json.loads(typed("list", "--json"))["knowledge"] == before


def test_a_shipped_pack_is_replaced_and_comes_back(typed: Typed, tmp_path: Path) -> None:
    ours = packs().shipped["redis"].replace("above = 0.98", "above = 0.8")
    assert "+when" in typed("diff", written(tmp_path, ours), code=1)
    assert "redis version 1 holds" in typed("register", written(tmp_path, ours))
    assert holds(typed, "redis") == 1
    assert "as it is shipped holds again" in typed("rollback", "redis")
    assert holds(typed, "redis") == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GARDEN.replace("restart_service", "restart_servce"), "there is no action restart_servce"),
        (GARDEN.replace("dry", "down"), "says something else of it"),
        (GARDEN + "colour = 1\n", "unknown field `colour`"),
    ],
)
def test_a_bad_pack_is_not_registered_and_the_fault_has_its_place(
    typed: Typed, tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(UserError, match=told) as refused:
        typed("register", written(tmp_path, text))
    assert "garden" in str(refused.value)
    assert refused.value.remedy
    assert holds(typed) == "unheard of"


def test_who_is_no_admin_registers_nothing(typed: Typed, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ben may not change packs"):
        typed("register", written(tmp_path), by="ben")
    assert holds(typed) == "unheard of"


def test_a_trial_tells_faults_what_matches_nothing_and_what_a_recording_shows(typed: Typed, tmp_path: Path) -> None:
    bad = GARDEN.replace("restart_service", "restart_servce")
    assert "✗ garden: cures no_rain: there is no action" in typed("test", written(tmp_path, bad), code=1)
    moist = GARDEN.replace("soil.moisture", "soil.moistur")
    told = typed("test", written(tmp_path, moist), "--on", recording(tmp_path))
    assert "soil.moistur matches nothing that was seen" in told
    assert "Did you mean soil.moisture?" in told
    shown = json.loads(typed("test", written(tmp_path), "--on", recording(tmp_path), "--json"))["shown"]
    begun = NOW + OUTAGE.start * 1_000
    errors = [s for s in shown if s["symptom"] == "errors"]
    assert errors
    assert {s["entity"] for s in errors} == {"farm/bed/0"}
    assert begun <= errors[0]["onset"] < begun + 10_000


def test_a_draft_names_what_no_pack_names_yet_and_is_a_pack(typed: Typed, tmp_path: Path) -> None:
    file = tmp_path / "beds.toml"
    typed("new", "beds", "--from", recording(tmp_path), "--out", str(file))
    pack = read(file.read_text())
    assert [signal.expression for signal in pack.signals] == [
        "rate(bed_wait_seconds_sum) / rate(bed_wait_seconds_count)"
    ]
    assert {rule.when[0].signal for rule in pack.symptoms} == {"bed.wait.seconds.mean", "beds_queue_depth"}
    assert pack.head.entities == ("farm/bed/*",)
    assert "http_requests_total" not in file.read_text(), "a shipped pack names it"
    assert "✓" in typed("test", str(file))
    with pytest.raises(UserError, match="is there already"):
        typed("new", "beds", "--from", recording(tmp_path), "--out", str(file))


@pytest.mark.parametrize(
    ("words", "told"),
    [(("new", "Beds X", "--from", "{recording}", "--out", "x.toml"), "makes no pack"),
     (("new", "beds", "--from", "nowhere.jsonl", "--out", "x.toml"), "cannot be read"),
     (("new", "beds", "--from", "{recording}", "--entity", "yard/*", "--out", "x.toml"), "no entity is like yard"),
     (("test", "nowhere.toml"), "nowhere.toml cannot be read"), (("show", "nobody"), "no version of nobody holds")],
)  # fmt: skip
def test_what_cannot_be_done_is_told_with_the_remedy(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told) as refused:
        typed(*(word.format(recording=recording(tmp_path)) for word in words))
    assert refused.value.remedy
    assert not (tmp_path / "x.toml").exists()


def test_a_recording_without_samples_is_told(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "odd.jsonl").write_text('{"a": 1}\n')
    for name, told in (("empty", "has no samples"), ("odd", "is no recording")):
        with pytest.raises(UserError, match=told):
            typed("test", written(tmp_path), "--on", str(tmp_path / f"{name}.jsonl"))


def test_the_doctor_tells_of_packs_that_do_not_go_together_and_of_what_matches_nothing(
    embedded: Embedded, home: Path
) -> None:
    Keys(home).add("ada", (Role.ADMIN,))
    key = Keys(home).own("ada")
    from models.versions import sign_version

    with Publisher(Broker(embedded.bootstrap)) as publisher:
        bad = pack_of(GARDEN.replace("restart_service", "restart_servce"), ts=1)
        publisher.send(sign_version(bad, key))
        publisher.send(Sample(entity="farm/bed/0", ts=NOW, metrics={"soil.wet": 0.3}))
    result = CliRunner().invoke(build(), ["doctor", "--broker", embedded.bootstrap, "--json"], env={"COLUMNS": "200"})
    found = [f for f in json.loads(result.stdout) if f["what"] == "packs"]
    assert [(f["state"], f["detail"]) for f in found] == [
        ("failed", "garden: cures no_rain: there is no action restart_servce"),
        ("note", "garden: symptoms dry: soil.moisture matches nothing that was seen"),
    ]
    assert all(f["remedy"] for f in found)
    assert result.exit_code == 1

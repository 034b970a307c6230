"""`opsloop worker`: which roles a process runs that was asked for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import pipeline
from app.cli.worker import ALL, chosen
from app.connection import Broker
from app.ingest.settings import IngestSettings
from app.settings import Settings
from app.system import Worker

SITE = Path("site")
MINE = IngestSettings(topics={"mine": "auto"})


@pytest.mark.parametrize(
    ("asked", "site", "ingest", "run"),
    [
        ("lane", None, IngestSettings(), {"lane"}),
        ("lane", None, MINE, {"lane", "rekey"}),
        ("loop", None, MINE, {"loop"}),
        ("act", None, MINE, {"act"}),
        ("act", SITE, IngestSettings(), {"act"}),
        (ALL, None, IngestSettings(), {"lane", "loop"}),
        (ALL, SITE, IngestSettings(), {"lane", "loop", "act"}),
        (ALL, SITE, MINE, {"lane", "loop", "act", "rekey"}),
    ],
)
def test_a_worker_runs_what_it_was_asked_for_and_what_joins_it(
    asked: str, site: Path | None, ingest: IngestSettings, run: set[str]
) -> None:
    worker = Worker(Broker(), Settings(ingest=ingest), site)
    roles = chosen(pipeline.roles(), asked, worker)
    assert {role.name for role in roles} == run
    assert len(roles) == len(run)

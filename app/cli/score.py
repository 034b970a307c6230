"""`opsloop score`: recordings scored offline by the code of the live path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import JsonOption
from app.printing import err, print_json, print_table

if TYPE_CHECKING:
    from app.offline.score import Int8


def register(app: typer.Typer) -> None:
    app.command()(score)


def score(
    files: Annotated[
        list[Path], typer.Argument(help=".npz (test, train, label), .csv, .csv.gz or .parquet, or folders of them")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write score (n), alarm (n) and attribution (n, metrics) here")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="Detect as a worker with these settings would; as shipped when left out")
    ] = None,
    warm: Annotated[bool, typer.Option(help="Feed the part `train` first, where there is one")] = False,
    json: JsonOption = False,
) -> None:
    """Score recordings as the live detector would: one sample after another, from nothing, without labels.

    Examples: `opsloop score machine-1-6.npz --out scores.npz` · `opsloop score cpu.csv memory.csv --json`.
    A CSV file has a column of time and numeric columns; of a folder as that of the Numenta benchmark every recording
    is scored. With several files the arrays of each are named `FILE.score`, `FILE.alarm` and `FILE.attribution`.
    Detectors that say what they see beside the bank have `alarm.NAME`. Patterns of settings match the file's name
    without its ending as the entity, and its columns as metrics.
    """
    import numpy as np

    from app.errors import UserError
    from app.offline.score import load, recordings
    from app.offline.score import score as scored
    from app.settings import load as settings_of

    arrays: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    detection = settings_of(settings).detection if settings else None
    paths = list(recordings(files))
    if not paths:
        raise UserError(f"there is no recording in {files[0]}", "Give .npz, .csv, .csv.gz or .parquet files")
    for path in paths:
        recording = load(path)
        result = scored(recording, detection, warm=warm)
        prefix = "" if len(paths) == 1 else f"{recording.name}."
        if f"{prefix}score" in arrays:  # of another folder
            prefix = f"{path.parent.name}-{prefix}"
        arrays |= {
            f"{prefix}score": result.score,
            f"{prefix}alarm": result.alarm,
            f"{prefix}attribution": result.attribution,
            **{f"{prefix}alarm.{name}": alarm for name, alarm in result.second.items()},
        }
        worst = int(np.argmax(result.score))
        rows.append({
            "file": path.name, "samples": len(result.score), "metrics": len(recording.metrics),
            "alarms": _raised(result.alarm), "alarmed_share": float(result.alarm.mean()),
            "second": {name: _raised(alarm) for name, alarm in sorted(result.second.items())},
            "worst_sample": worst, "worst_score": float(result.score[worst]),
            "worst_metric": recording.metrics[int(np.argmax(result.attribution[worst]))],
        })  # fmt: skip
    if out is not None:
        np.savez_compressed(out, **arrays)
        err.print(f"written: {out}")
    if json:
        print_json({"files": rows, "out": None if out is None else str(out)})
    else:
        print_table("Scored", rows[0], ([_told(value) for value in row.values()] for row in rows))


def _raised(alarm: Int8) -> int:
    """How often it goes on."""
    return int(alarm[0]) + int((alarm[1:] > alarm[:-1]).sum())


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)

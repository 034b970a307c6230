"""`opsloop score`: recordings scored offline by the code of the live path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import JsonOption
from app.printing import err, print_json, print_table


def register(app: typer.Typer) -> None:
    app.command()(score)


def score(
    files: Annotated[
        list[Path], typer.Argument(help=".npz (test, train, label), .csv, .csv.gz or .parquet, or folders of them")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write score (n), alarm (n) and attribution (n, metrics) here")
    ] = None,
    warm: Annotated[bool, typer.Option(help="Feed the part `train` first, where there is one")] = False,
    json: JsonOption = False,
) -> None:
    """Score recordings as the live detector would: one sample after another, from nothing, without labels.

    Examples: `opsloop score machine-1-6.npz --out scores.npz` · `opsloop score cpu.csv memory.csv --json`.
    A CSV file has a column of time and numeric columns; of a folder as that of the Numenta benchmark every recording
    is scored. With several files the arrays of each are named `FILE.score`, `FILE.alarm` and `FILE.attribution`.
    """
    import numpy as np

    from app.errors import UserError
    from app.score import load, recordings
    from app.score import score as scored

    arrays: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    paths = list(recordings(files))
    if not paths:
        raise UserError(f"there is no recording in {files[0]}", "Give .npz, .csv, .csv.gz or .parquet files")
    for path in paths:
        recording = load(path)
        result = scored(recording, warm=warm)
        prefix = "" if len(paths) == 1 else f"{recording.name}."
        if f"{prefix}score" in arrays:  # of another folder
            prefix = f"{path.parent.name}-{prefix}"
        arrays |= {
            f"{prefix}score": result.score,
            f"{prefix}alarm": result.alarm,
            f"{prefix}attribution": result.attribution,
        }
        worst = int(np.argmax(result.score))
        rows.append({
            "file": path.name, "samples": len(result.score), "metrics": len(recording.metrics),
            "alarms": int((np.diff(result.alarm, prepend=0) == 1).sum()), "alarmed_share": float(result.alarm.mean()),
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


def _told(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

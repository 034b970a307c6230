"""A wall clock that can be moved, for processes started with it: a small library that overrides libc's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from app.drills.report import LeftOut

_SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """The wall clock of processes with `environment`. Their monotonic clock is unchanged."""

    def __init__(self, folder: Path) -> None:
        """Raises LeftOut when there is no C compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            raise LeftOut("it needs a C compiler", "apt-get install -y gcc libc6-dev")
        folder.mkdir(parents=True, exist_ok=True)
        self._offset, library = folder / "clock", folder / "clock.so"
        self.set(0.0)
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "OPSLOOP_DRILL_CLOCK": str(self._offset)}

    def set(self, seconds: float) -> None:
        """From now on, show the machine's clock plus `seconds`."""
        with self._offset.open("r+b" if self._offset.exists() else "w+b") as file:
            file.write(round(seconds * 1e9).to_bytes(8, "little", signed=True))

"""A disk that can be full: a small file system in memory, of a size that is known, and a ballast on it."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from pathlib import Path

from app.errors import UserError


class SmallDisk:
    """A tmpfs of `size` bytes at `folder`, while it is open."""

    def __init__(self, folder: Path, size: int) -> None:
        """Raises UserError when this user may not mount."""
        self.folder = folder
        folder.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "opsloop-drill", str(folder)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise UserError("this drill mounts a small disk, and may not", "Run it as root, or leave it out")
        self._ballast = folder / "ballast"

    def fill(self, left: int) -> None:
        """Leave no more room than about `left` bytes in the file that grows: whole pages are given out."""
        self.free()
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        pages = left // 4096
        if pages:
            os.truncate(self._ballast, max(0, self._ballast.stat().st_size - pages * 4096))

    def free(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)

    def is_full(self) -> bool:
        """Whether not one more page is given out."""
        trial = self.folder / "trial"
        try:
            trial.write_bytes(b"\0" * 4096)
        except OSError as error:
            return error.errno == errno.ENOSPC
        finally:
            trial.unlink(missing_ok=True)
        return False

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)

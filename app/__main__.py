"""The entry point: every failure that a person can mend is told in one or two lines."""

from __future__ import annotations

import os
import sys
import threading
import time

from app.cli import build
from app.errors import UserError

FOLLOW = "OPSLOOP_PARENT"  # a process that was started by this one ends with it


def _follow_parent() -> None:
    parent = os.environ.get(FOLLOW)

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(0.25)
        os._exit(1)

    if parent:
        threading.Thread(target=watch, name="parent", daemon=True).start()


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 found something wrong, 2 used wrongly, 130 interrupted."""
    _follow_parent()
    try:
        build()()
    except UserError as error:
        sys.stderr.write(f"opsloop: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()

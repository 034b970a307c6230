"""No orphans: the supervisor ends when the process that started the site does, and its children end with it.

`python -m app.demo.guard PARENT CONFIG` is supervisord that also watches its parent. It asks for the parent's id rather
than for a signal at its death (PR_SET_PDEATHSIG), because that signal comes when the *thread* that started it ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Final

PERIOD_S: Final = 0.25
_PR_SET_PDEATHSIG: Final = 1
_SUPERVISOR: Final = "OPSLOOP_SITE_SUPERVISOR"


def die_with_parent() -> None:
    """Have the kernel kill this process when the supervisor ends, also when it is stopped (SIGSTOP)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if str(os.getppid()) != os.environ.get(_SUPERVISOR, str(os.getppid())):
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PERIOD_S)
    os.kill(os.getpid(), signal.SIGKILL)


def main(parent: int, config: str) -> None:
    """Run supervisord in the foreground until it is told to stop or the parent is gone."""
    from supervisor import supervisord

    os.environ[_SUPERVISOR] = str(os.getpid())
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    supervisord.main(["--nodaemon", "--configuration", config])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

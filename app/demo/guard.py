"""Ends the supervisor and its children when the process that started the site ends.

`python -m app.demo.guard PARENT CONFIG` is supervisord that also watches its parent. It asks for the parent's id rather
than for a signal at its death (PR_SET_PDEATHSIG), because that signal comes when the *thread* that started it ends. Its
own children, which its main thread starts, do get that signal, from their start on and also while they are stopped.
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


def main(parent: int, config: str) -> None:
    """Run supervisord in the foreground until it is stopped or the parent has ended."""
    from supervisor import supervisord

    _bind_children()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    supervisord.main(["--nodaemon", "--configuration", config])


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PERIOD_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _bind_children() -> None:
    """Have the kernel kill each child when this process ends. The setting survives the child's exec."""
    prctl, guard = ctypes.CDLL(None).prctl, os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # the parent ended before the setting was made
            os.kill(os.getpid(), signal.SIGKILL)

    os.register_at_fork(after_in_child=bind)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

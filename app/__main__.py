"""The entry point of `opsloop`: prints every UserError in one or two lines, without a traceback."""

from __future__ import annotations

import os
import sys

from app.cli import build
from app.errors import UserError
from app.runtime.parent import follow


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 found something wrong, 2 used wrongly, 130 interrupted."""
    follow()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # typer loads pydantic, and its search costs 50 ms
    try:
        build()()
    except UserError as error:
        sys.stderr.write(f"opsloop: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:  # a file or folder that cannot be used, as an unwritable home
        if not error.filename:
            raise
        why = (error.strerror or str(error)).lower()
        sys.stderr.write(f"opsloop: cannot use {error.filename} ({why}). Look at its rights, or set OPSLOOP_HOME\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

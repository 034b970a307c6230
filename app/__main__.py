"""The entry point: every failure that a person can mend is told in one or two lines."""

from __future__ import annotations

import sys

from app.cli import build
from app.errors import UserError
from app.runtime.parent import follow


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 found something wrong, 2 used wrongly, 130 interrupted."""
    follow()
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

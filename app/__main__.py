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
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()

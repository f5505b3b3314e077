"""The entry point. It imports nothing before it can answer Ctrl-C with one line instead of a traceback."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run `skillwarrant` with the process's arguments, and exit."""
    try:
        from skillwarrant_cli import interrupt

        interrupt.watch()
        from skillwarrant_cli.group import OWN_PROCESS, cli

        cli.main(prog_name="skillwarrant", obj=OWN_PROCESS)
    except KeyboardInterrupt:
        # Only while starting or ending: in between, `Group.main` answers.
        sys.stderr.write("skillwarrant: interrupted\n")
    sys.exit(130)

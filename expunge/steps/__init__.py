"""The pipeline's steps: each reads files, calls the library and writes files. They are the DVC stage commands.

`python -m expunge.steps.NAME RELEASE` runs one of them in the project's folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.settings import Params, load_params

Step = Callable[[Paths, Params, str], None]


def step_main(step: Step) -> None:
    """Run `step` for the release named on the command line; a user's mistake is one line on stderr and status 1."""
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python -m expunge.steps.{step.__name__} RELEASE")
    try:
        paths = Paths()
        step(paths, load_params(paths.params), sys.argv[1])
    except ExpungeError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"Error: {error.filename or 'A file'}: {error.strerror or error}.", file=sys.stderr)
        raise SystemExit(1) from None

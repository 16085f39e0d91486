"""The Prefect server behind the guard of the project: `python -m flows.server PORT [ORIGIN …]`.

Prefect's own settings ask for the password, for a CSRF token and for its own origins; it does not check by which name
it is called, so the guard does. `flows.serve` starts it with all of them set.
"""

from __future__ import annotations

import sys

import uvicorn

from expunge.project.guard import LOOPBACK, Guard, origins_of


def main() -> None:
    """Serve until interrupted."""
    from prefect.server.api.server import create_app

    port, *public = sys.argv[1:]
    app = Guard(create_app(final=True), origins_of(int(port), public))
    uvicorn.run(app, host=LOOPBACK, port=int(port), log_level="warning", server_header=False)


if __name__ == "__main__":
    main()

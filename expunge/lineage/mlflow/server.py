"""MLflow's pages on loopback, behind the guard of the project: `python -m expunge.lineage.mlflow.server [--port N]`.

MLflow's own checks of names and origins are set too; by themselves they let in pages of every port of this machine,
and ask nobody for a password. Artifacts are read where they lie: nothing can be uploaded.
"""

from __future__ import annotations

import argparse
import os
import sys

from expunge.lineage.mlflow.store import Store, plain_errors, tracking_uri
from expunge.project.errors import ExpungeError
from expunge.project.guard import LOOPBACK, USER, Guard, origins_of
from expunge.project.paths import Paths
from expunge.project.secret import kept_secret
from expunge.project.telemetry import switch_off
from expunge.settings import load_params


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--origin", action="append", default=[], help="public origin of a reverse proxy; repeatable")
    options = parser.parse_args()
    switch_off()
    try:
        serve(Paths(), options.port, options.origin)
    except ExpungeError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def serve(paths: Paths, port: int, public: list[str]) -> None:
    """Serve the record of the project in `paths` until interrupted.

    Raises:
        ExpungeError: the settings or a public origin are not valid, or the record cannot be opened.
    """
    params = load_params(paths.params).mlflow
    uri, origins = tracking_uri(paths, params), origins_of(port, public)
    with plain_errors(uri):
        Store.open(paths, params, create=False)  # makes MLflow's tables before a page asks for ten things at once
    # Read when MLflow's application is imported.
    os.environ |= {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(origin.partition("://")[2] for origin in origins),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "DENY",
    }
    import uvicorn
    from mlflow.server import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR

    os.environ[BACKEND_STORE_URI_ENV_VAR] = uri
    os.environ[ARTIFACT_ROOT_ENV_VAR] = str((paths.root / "mlruns").resolve())
    from mlflow.server.fastapi_app import app

    guarded = Guard(app, origins, kept_secret(paths.server_secret))
    print(f"MLflow is at {origins[0]}. User: {USER}; password: the content of {paths.server_secret}.", flush=True)
    uvicorn.run(guarded, host=LOOPBACK, port=port, log_level="warning", server_header=False)


if __name__ == "__main__":
    main()

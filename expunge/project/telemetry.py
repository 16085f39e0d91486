"""Nothing that Expunge starts reports home. One place, imported before DVC, Prefect, MLflow or Ray."""

from __future__ import annotations

import os

OFF = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""`true` and not `1`: MLflow reads DO_NOT_TRACK as a word, Prefect takes both."""


def switch_off() -> None:
    """Set the switches for this process and its children, unless the user has set them already."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)

"""Settings of the record in MLflow."""

from __future__ import annotations

from expunge.project.schema import Block


class MlflowParams(Block):
    """Names in MLflow; `MLFLOW_TRACKING_URI` in the environment overrides `tracking_uri`."""

    tracking_uri: str = "sqlite:///mlflow.db"
    experiment: str = "expunge"
    registered_model: str = "clip"

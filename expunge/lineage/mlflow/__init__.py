"""What MLflow records: one run and one version of the registered model a release."""

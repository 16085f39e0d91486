"""Lineage: what DVC keeps, what MLflow records, and the chain that joins a request to a model and back."""

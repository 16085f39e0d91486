"""What DVC keeps: its locks, its object stores, its pipeline. With `lineage.mlflow` the only room that knows it."""

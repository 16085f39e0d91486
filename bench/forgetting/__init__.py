"""The forgetting benchmark: methods × scenarios × seeds, each against a model retrained without the data."""

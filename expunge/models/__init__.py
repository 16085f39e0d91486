"""CLIP models: create, load, train, encode, retrain."""

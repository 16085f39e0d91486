"""Expunge: from a deletion request to a CLIP model that no longer holds the data, and the proof of it."""

__version__ = "0.1.0"

"""Releases: the chain, and how a new one is cut."""

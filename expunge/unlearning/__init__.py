"""Unlearning: one loop (`loop`), one registry (`registry`), one short file per method."""

"""Hostile campaigns: what happens to a project that somebody attacks, kills or floods."""

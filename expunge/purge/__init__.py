"""Purge: remove what a release and its ancestors forgot from every place that still holds it, and prove it.

Plan → confirm → journal → steps → proof. What stays is the release and its descendants, and every retained sample;
`base` and the releases in between leave a tombstone of digests. Sample ids are pseudonyms and stay where they say what
was done: in the ledger, in requests and `release.yaml`, and in forget sets.
"""

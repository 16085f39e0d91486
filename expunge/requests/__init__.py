"""Deletion requests and the ledger that never loses one."""

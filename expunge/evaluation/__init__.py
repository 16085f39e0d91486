"""Evaluation: one file per question asked of a model; `measure` asks them all, `gate` decides."""

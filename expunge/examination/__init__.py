"""Further questions asked of a model: for the benchmark, audits and flagged releases."""

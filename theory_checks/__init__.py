"""The theory of flow maps as checks: one file per statement, run by `pytest theory_checks`."""

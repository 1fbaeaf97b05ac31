"""What was gained and what was forgotten: statistics, metrics, retention, and the record of a run."""

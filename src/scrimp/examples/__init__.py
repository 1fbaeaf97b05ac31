"""What comes in: rows read from files and hubs, templates and the label mask, splits, leakage, batching."""

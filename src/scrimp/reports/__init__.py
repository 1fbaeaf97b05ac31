"""What a person reads after a run: one page (`page`) and one table for the terminal (`terminal`)."""

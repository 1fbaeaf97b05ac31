"""The lab in which a paper's claim is tried, and the catalogue that says how it came out."""

"""How well, how fast and how lean rows are selected, at scale and beside other libraries."""

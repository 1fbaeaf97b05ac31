"""How a decoder is run with nothing computed twice and nothing kept that is not needed."""

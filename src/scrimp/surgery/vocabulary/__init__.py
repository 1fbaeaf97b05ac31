"""The family of vocabulary transfer: embeddings for tokens that the model has never seen."""

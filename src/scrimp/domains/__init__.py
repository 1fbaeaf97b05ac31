"""What a modality other than text adds: a reader, a batcher, a metric, a small model."""

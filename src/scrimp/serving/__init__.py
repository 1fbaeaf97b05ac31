"""What a model is used through: label scoring, generation, heads on features, and their saved form."""

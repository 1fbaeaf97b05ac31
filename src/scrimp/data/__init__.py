"""Making the data that is trained on: selecting, mixing, writing and condensing it."""

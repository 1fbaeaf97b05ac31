"""How fast and how lean LoRA is trained, beside TRL and a plain PEFT loop, on the same rows in the same run."""

"""What a base model in memory measures, and what acts on it beside its tensors."""

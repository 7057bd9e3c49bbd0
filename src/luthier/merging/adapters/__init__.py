"""Low-rank updates (LoRA) as they lie in folders: added to a model, merged, scaled, taken from a difference."""

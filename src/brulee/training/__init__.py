"""The training loop, its checkpoints, and its handling of failures."""

"""Base models: loading them, attention over packs, loss at the learned positions."""

"""Base models: loading, attention over packed documents, loss at the learned positions."""

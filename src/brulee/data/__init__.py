"""From a source of rows to batches of tokens."""

"""The data pipeline, from a source of rows to batches of tokens."""

"""Prediction of memory, time and disk space before a training."""

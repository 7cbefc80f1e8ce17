"""Generating and scoring with a base model and what was attached to it."""

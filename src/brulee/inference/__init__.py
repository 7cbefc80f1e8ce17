"""Generation and scoring with a base model and its adapters."""

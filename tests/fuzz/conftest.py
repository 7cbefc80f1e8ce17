"""Random input from a fixed seed: what fails here fails everywhere, and again."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "brulee",
    derandomize=True,
    database=None,
    deadline=None,  # machines differ; where time is the matter, a test measures it
    max_examples=60,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("brulee")

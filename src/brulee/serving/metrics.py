"""Metrics of the server, in Prometheus's text format."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final

_HELP: Final = {
    "requests_total": ("counter", "Requests answered, by path and HTTP status."),
    "prompt_tokens_total": ("counter", "Prompt tokens, each prompt counted once, by model."),
    "prompt_tokens_read_total": ("counter", "Prompt tokens read, summed over answers, by model."),
    "prompt_tokens_cached_total": ("counter", "Prompt tokens found in the cache, by model."),
    "completion_tokens_total": ("counter", "Tokens generated, by model."),
    "cancelled_total": ("counter", "Answers whose client disconnected."),
    "first_token_seconds": ("summary", "Seconds from a request to its first token."),
    "answer_seconds": ("summary", "Seconds from a request to its end."),
    "running": ("gauge", "Answers being generated."),
    "waiting": ("gauge", "Answers waiting to be generated."),
    "cache_tokens": ("gauge", "Tokens for which cache is reserved."),
    "kept_tokens": ("gauge", "Tokens kept in the cache for prompts that share a prefix."),
    "adapters": ("gauge", "Adapters loaded."),
}
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Thread-safe counters."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Labels]] = Counter()
        self._turn = threading.Lock()

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        with self._turn:
            self._counts[name, tuple(sorted(labels.items()))] += amount  # type: ignore[assignment]

    def took(self, name: str, seconds: float) -> None:
        """Add an observation to a summary."""
        self.count(f"{name}_sum", seconds)
        self.count(f"{name}_count")

    def text(self, now: Mapping[str, float]) -> str:
        """All counters, and gauges with the values `now`."""
        with self._turn:
            counts = dict(self._counts)
        lines: list[str] = []
        for name, (kind, about) in _HELP.items():
            lines += [f"# HELP brulee_{name} {about}", f"# TYPE brulee_{name} {kind}"]
            if kind == "gauge":
                lines.append(f"brulee_{name} {now[name]:g}")
                continue
            parts = (f"{name}_sum", f"{name}_count") if kind == "summary" else (name,)
            for part in parts:
                own = {labels: n for (key, labels), n in sorted(counts.items()) if key == part}
                lines += [f"brulee_{part}{_braces(labels)} {n:.17g}" for labels, n in own.items()]
        return "\n".join(lines) + "\n"


def _braces(labels: Labels) -> str:
    pairs = [f'{key}="{_escaped(value)}"' for key, value in labels]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

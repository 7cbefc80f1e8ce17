"""What a side of versus_trl.py took of the processor beside its own arithmetic."""

from __future__ import annotations

import resource


def usage(since: dict[str, float] | None = None) -> dict[str, float]:
    """Seconds of all threads in the process and in the kernel for it, and pages that were mapped.

    So far, or `since` an earlier answer. Memory that is given back and taken again is mapped and
    zeroed anew, which is the kernel's time.
    """
    found = resource.getrusage(resource.RUSAGE_SELF)
    now = {
        "user_seconds": found.ru_utime,
        "system_seconds": found.ru_stime,
        "page_faults": found.ru_minflt,
    }
    return {key: round(value - (since or {}).get(key, 0), 2) for key, value in now.items()}

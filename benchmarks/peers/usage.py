"""The resource usage of a side of versus_trl.py: user time, system time, page faults."""

from __future__ import annotations

import resource


def usage(since: dict[str, float] | None = None) -> dict[str, float]:
    """User and system seconds of all threads, and minor page faults.

    Totals so far, or since an earlier result `since`. Memory that is freed and allocated again is
    mapped and zeroed again, which counts as system time.
    """
    found = resource.getrusage(resource.RUSAGE_SELF)
    now = {
        "user_seconds": found.ru_utime,
        "system_seconds": found.ru_stime,
        "page_faults": found.ru_minflt,
    }
    return {key: round(value - (since or {}).get(key, 0), 2) for key, value in now.items()}

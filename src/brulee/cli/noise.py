"""Limit what other libraries print during a command to errors."""

from __future__ import annotations

import logging
import os
import sys

# The libraries read these on import, so set them before; the user's own values stay.
_QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "DATASETS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def hush() -> None:
    """Make transformers, datasets and the Hub client print only errors and no progress bars.

    Under torchrun, only the first process prints results.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # It has no environment variable, and warns of kernels that it did not find on the Hub.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if os.environ.get("RANK", "0") != "0":
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

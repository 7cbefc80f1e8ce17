"""What other libraries may print while a command runs: errors only."""

from __future__ import annotations

import logging
import os
import sys

# Read when the libraries are imported, hence set before; a value the user chose stays.
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
    """Ask transformers, datasets and the Hub client for errors only, with no bars of their own.

    Of several processes that torchrun started, only the first prints results.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # It reads no variable, and warns of kernels that it did not find on the Hub.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if os.environ.get("RANK", "0") != "0":
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""What is done when memory runs out in the middle of a step: the same step in smaller passes, once.

How a step is cut into passes does not change its loss or its gradient, so the effective batch stays
what the recipe says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from brulee.data.encoding import Encoded
from brulee.errors import StoppedError

if TYPE_CHECKING:
    from brulee.training.passes import Passes

# torch has a type for CUDA alone; on a CPU its allocator, and oneDNN where it makes a matrix
# product, raise a RuntimeError with these words.
_WORDS = re.compile(
    r"can't allocate memory|not enough memory|out of memory|could not create a primitive",
    re.IGNORECASE,
)


def is_exhaustion(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, on a GPU or in the process."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None


class Relief:
    """Halves the passes once; a second time there is nothing left to try.

    It is not `allowed` where other processes wait for a pass that this one would cut in two.
    """

    def __init__(self, passes: Passes, allowed: bool = True) -> None:
        self.passes = passes
        self.used = not allowed

    def halve(self, step: int, documents: Sequence[Encoded], resume_line: str) -> str:
        """Let passes be half as large as the largest of these documents' was; says so.

        Raises StoppedError where that was done before, or a single document is too much.
        """
        lengths = [len(d.ids) for d in documents]
        # No pass holds more documents than `most`, nor more tokens than the step has.
        at_most = min(self.passes.pass_tokens, sum(sorted(lengths)[-self.passes.most :]))
        tokens = at_most // 2
        if self.used or tokens < max(lengths) // 2 or self.passes.most == len(documents) == 1:
            raise StoppedError(
                f"step {step}: out of memory in a pass of at most {at_most} tokens. "
                "Set train.max_length lower, or free memory and go on with: "
                f"{resume_line}"
            )
        self.used = True
        self.passes.pass_tokens = tokens
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return (
            f"step {step}: out of memory; passes now hold {tokens} tokens instead of {at_most}. A "
            f"step still learns from {len(documents)} documents."
        )

"""What is done when memory runs out in the middle of a step: the same step in less of it.

Neither how a step is cut into passes nor what is computed again changes its loss or its gradient,
so the effective batch stays what the recipe says. Chance is drawn from anew where the step began:
layers that compute again drop what they would have dropped, and smaller passes what they would have
dropped had they been so small before.
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

# torch has a type for its own allocator on CUDA alone; cuBLAS there, on a CPU the allocator, and
# oneDNN where it makes a matrix product, raise a RuntimeError with these words.
_WORDS = re.compile(
    r"can't allocate memory|not enough memory|out of memory|could not create a primitive"
    r"|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def is_exhaustion(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, on a GPU or in the process."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None


class Relief:
    """Halves the passes once; after that, or where a pass is one document, has layers keep less.

    Before either, what recorded passes keep for themselves is given back.

    Passes are not halved unless that is `allowed`: not where other processes wait for one that this
    process would cut in two.
    """

    def __init__(self, passes: Passes, allowed: bool = True) -> None:
        self.passes = passes
        self.used = not allowed

    def take_less(self, step: int, documents: Sequence[Encoded], resume_line: str) -> str:
        """Have passes over these documents take less memory; says how.

        Raises StoppedError where all of it was done before.
        """
        lengths = [len(d.ids) for d in documents]
        # No pass holds more documents than `most`, nor more tokens than the step has.
        at_most = min(self.passes.pass_tokens, sum(sorted(lengths)[-self.passes.most :]))
        tokens = at_most // 2
        single = self.passes.most == len(documents) == 1
        if self.passes.stop_replaying():
            how = "passes are no longer replayed from CUDA graphs, which keep memory of their own."
        elif not (self.used or single or tokens < max(lengths) // 2):
            self.used, self.passes.pass_tokens = True, tokens
            how = (
                f"passes now hold {tokens} tokens instead of {at_most}. A step still learns from "
                f"{len(documents)} documents."
            )
        elif self.passes.recompute():
            how = (
                "layers now keep less for the backward pass and compute it again, which takes "
                "about a third longer. The result is the same."
            )
        else:
            raise StoppedError(
                f"step {step}: out of memory in a pass of at most {at_most} tokens. Set "
                f"train.max_length lower, or free memory and continue with: {resume_line}"
            )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return f"step {step}: out of memory; {how}"

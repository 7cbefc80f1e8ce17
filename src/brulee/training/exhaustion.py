"""Recovery from running out of memory during a step: the same step with less memory.

Neither the split into passes nor recomputation changes the loss or gradient of a step, so the
effective batch stays as in the recipe. The random state is reset to the start of the step: with
recomputation, dropout is the same as it would have been; with smaller passes, it is as if they had
always been smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from brulee.data.encoding import Encoded
from brulee.errors import StoppedError

if TYPE_CHECKING:
    from brulee.training.passes import Passes


class Relief:
    """Halves the passes once; after that, or if a pass is one document, has layers recompute.

    Before either, recorded passes are dropped to free their memory.

    Passes are only halved if `allowed`: not if other processes have to run the same number of
    passes.
    """

    def __init__(self, passes: Passes, allowed: bool = True) -> None:
        self.passes = passes
        self.used = not allowed

    def take_less(self, step: int, documents: Sequence[Encoded], resume_line: str) -> str:
        """Make passes over these documents use less memory; returns a sentence about how.

        Raises StoppedError if everything was tried before.
        """
        lengths = [len(d.ids) for d in documents]
        # A pass holds at most `most` documents, and no more tokens than the step has.
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

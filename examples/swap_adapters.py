"""Ask several task adapters over one base model in memory; choosing one takes a millisecond.

    python examples/swap_adapters.py bundled "Hello!" runs/support-chat runs/review-rating

The targets are runs or adapter folders over the base named first.
"""

from __future__ import annotations

import sys
import time

import torch

from brulee.data.encoding import Encoder
from brulee.inference.sampling import Sampling
from brulee.inference.session import open_engine
from brulee.methods.shelf import locate_adapter
from brulee.methods.swapping import Swap
from brulee.models.loading import load_base


def main() -> None:
    """Answer the prompt with the base and with each adapter, and say how long choosing took."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    name, prompt, *targets = sys.argv[1:]
    held = Swap(load_base(name, torch.float32, torch.device("cpu")))
    for target in targets:
        held.add(target, locate_adapter(target))
    for choice in (None, *targets):
        started = time.perf_counter()
        base = held.use(choice)
        milliseconds = 1000 * (time.perf_counter() - started)
        encoder = Encoder(base.tokenizer, kind=base.kind)
        if held.attached is not None:
            encoder = encoder.with_prefix(held.attached.prefix_ids)
        engine = open_engine(base, encoder, attached=held.attached)
        (ids,) = engine.generate([encoder.encode_prompt(prompt)], Sampling(48))
        print(f"{choice or 'the base'} ({milliseconds:.2f} ms): {encoder.decode(ids)}")
    held.close()


if __name__ == "__main__":
    main()

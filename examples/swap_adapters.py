"""Ask several task adapters over one base model in memory, all in one go.

    python examples/swap_adapters.py bundled "Hello!" runs/support-chat runs/review-rating

The targets are runs or adapter folders over the base named first.
"""

from __future__ import annotations

import sys
import time

import brulee


def main() -> None:
    """Put the prompt to the base and to each adapter, together; say how long that took."""
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    base, prompt, *targets = sys.argv[1:]
    held = brulee.load_adapters({target: target for target in targets}, base=base)
    asked = [None, *held.names]
    started = time.perf_counter()
    answers = held.complete([prompt] * len(asked), asked, max_new_tokens=48)
    seconds = time.perf_counter() - started
    for name, answer in zip(asked, answers, strict=True):
        print(f"{name or 'the base'}: {answer}")
    for name, why in held.apart.items():
        print(f"({name} answered in passes of its own: {why})")
    print(f"{len(asked)} answers in {seconds:.1f} s")


if __name__ == "__main__":
    main()

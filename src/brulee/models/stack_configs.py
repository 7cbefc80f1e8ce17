"""The configurations that hold the sizes of a model's stacks."""

from __future__ import annotations

from transformers import PretrainedConfig

_STACKS = ("encoder", "decoder")


def stack_configs(config: PretrainedConfig) -> list[PretrainedConfig]:
    """The configurations of encoder and decoder if they have one each (T5Gemma), else the one.

    If that has no width, those of all its parts (BLT).
    """
    own = [getattr(config, name, None) for name in _STACKS]
    found = [stack.get_text_config() for stack in own if isinstance(stack, PretrainedConfig)]
    whole = config.get_text_config()
    if not found and not hasattr(whole, "hidden_size"):
        found = [getattr(whole, name) for name in whole.sub_configs]
    return found or [whole]

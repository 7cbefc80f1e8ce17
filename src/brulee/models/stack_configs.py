"""The configurations that say how large the stacks of a model are."""

from __future__ import annotations

from transformers import PretrainedConfig

_STACKS = ("encoder", "decoder")


def stack_configs(config: PretrainedConfig) -> list[PretrainedConfig]:
    """Those of an encoder and a decoder that have one each (T5Gemma), else the one for all."""
    own = [getattr(config, name, None) for name in _STACKS]
    found = [stack.get_text_config() for stack in own if isinstance(stack, PretrainedConfig)]
    return found or [config.get_text_config()]

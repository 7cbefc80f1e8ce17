"""Describes what a training does with a model's experts and routers, in a sentence."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedModel

from brulee.models.experts import expert_modules, experts_in, router_modules
from brulee.models.quantising import parameter_count


class ExpertsNote:
    """Inspects a model before a method is attached, and describes afterwards what it tunes."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model, self._found = model, experts_in(model)
        self._experts, self._routers = [*expert_modules(model)], [*router_modules(model)]
        self._total = parameter_count(model)

    def sentence(self, method: str) -> str | None:
        """A sentence on whether experts and routers are tuned; None for a model without any."""
        found = self._found
        if found is None:
            return None
        tuned, routers = self._tuned(self._experts), self._tuned(self._routers)
        said = (
            f"the model has {found.each} experts per layer, of which a token uses {found.used}; "
            f"they are {found.values / self._total:.0%} of its parameters and "
            f"{'are tuned' if tuned else 'stay as they are'}"
        )
        if not tuned and method == "lora":
            said += " (method.target: [all-linear, experts] tunes them)"
        said += f"; its routers {'are tuned' if routers else 'stay as they are'}"
        asked = bool(getattr(self._model.config, "output_router_logits", False))
        if found.balance and (routers or asked):
            said += "; the loss that balances them (router_aux_loss_coef) is not added"
        return f"{said}."

    def _tuned(self, paths: Iterable[str]) -> bool:
        """Whether any parameter under one of the paths is trained."""
        above = tuple(f"{path}." for path in paths)
        every = self._model.named_parameters()
        return any(p.requires_grad and name.startswith(above) for name, p in every)

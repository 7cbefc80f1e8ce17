"""One parameter of the base, and what is trained in its place.

    module.weight ---> seen ---> what the module computes with
                        ^
        Whole: the trained copy, in the base's dtype
        Sparse: the base's own memory, with the chosen values written into it

While it is on, `seen` is an attribute of every module that owns the parameter; Python finds it
before the parameter, which stays in place. No module is replaced, ties are kept (all owners see the
same tensor), and switching off deletes the attribute.

Shapes: `K` chosen values. Trained values are fp32 whatever the base's dtype.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

Owners = list[tuple[nn.Module, str]]


class Tuned(ABC):
    """A parameter of the base that is being trained; off until `on` is called."""

    held: torch.Tensor  # the memory that modules read
    seen: torch.Tensor  # the same memory as a node of autograd that leads to `parameter`
    parameter: nn.Parameter  # what the optimiser updates

    def __init__(self, name: str, base: nn.Parameter, owners: Owners) -> None:
        self.name, self.base, self.owners = name, base, owners
        self.is_on = False
        self._backwards = 0
        self._written: tuple[int, int] | None = None
        self._hooks: list[RemovableHandle] = []

    @abstractmethod
    def write(self) -> None:
        """Copy the trained values to where modules read them."""

    @abstractmethod
    def gradient(self, grad: torch.Tensor) -> torch.Tensor:
        """The trained values' gradient, given that of the whole parameter."""

    @abstractmethod
    def original(self) -> torch.Tensor:
        """The base's own values at the trained places."""

    @abstractmethod
    def stored(self) -> dict[str, torch.Tensor]:
        """Trained values, and their positions unless all are trained, by the keys of the file."""

    @abstractmethod
    def take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load stored tensors, which must fit."""

    @abstractmethod
    def fold(self) -> None:
        """Make the trained values the base's."""

    def on(self) -> None:
        """Make every owner compute with the trained values."""
        for module, leaf in self.owners:
            module.__dict__[leaf] = self.seen
            if self.is_written:
                self._hooks.append(module.register_forward_pre_hook(self._refresh_hook))
        self.is_on, self._written = True, None
        self.refresh()

    def off(self) -> None:
        """Make every owner compute with the base's values again."""
        for module, leaf in self.owners:
            del module.__dict__[leaf]
        for hook in self._hooks:
            hook.remove()
        self.is_on, self._hooks = False, []

    @property
    def is_written(self) -> bool:
        """Whether trained values have to be copied to where modules read them."""
        return self.held is not self.parameter

    def refresh(self) -> None:
        """Copy the trained values if they may have changed since the last copy.

        An optimiser changes them after a backward pass; a fused one does so without raising the
        tensor's version, unlike every other change.
        """
        now = (self._backwards, self.parameter._version)
        if self.is_on and self.is_written and now != self._written:
            self.write()
            self._written = now

    def see(self) -> torch.Tensor:
        """`held` as the result of an operation on `parameter`, without a copy."""
        apply: Callable[..., torch.Tensor] = _Seen.apply  # untyped in torch
        return apply(self.parameter, self)

    def backward(self, grad: torch.Tensor) -> torch.Tensor:
        """Called by autograd with the gradient of `seen`."""
        self._backwards += 1
        return self.gradient(grad).to(self.parameter.dtype)

    def close(self) -> None:
        """Release `seen` after `off`: its autograd node forms a reference cycle."""
        del self.seen

    def _refresh_hook(self, *_: Any) -> None:
        self.refresh()


class _Seen(torch.autograd.Function):
    """The identity on memory, with a gradient for only the trained values.

    It saves nothing, so that one node serves every pass.
    """

    @staticmethod
    def forward(ctx: Any, parameter: torch.Tensor, tuned: Tuned) -> torch.Tensor:  # noqa: ARG004
        ctx.tuned = tuned
        # Not a view, so that writing into `held` between passes does not invalidate saved tensors.
        held = tuned.held.detach()
        return held.new_empty(0).set_(
            held.untyped_storage(), held.storage_offset(), held.size(), held.stride()
        )

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.tuned.backward(grads[0]), None


class Whole(Tuned):
    """A parameter trained whole, in a copy: the base's own is not changed."""

    def __init__(self, name: str, base: nn.Parameter, owners: Owners) -> None:
        super().__init__(name, base, owners)
        wide = torch.promote_types(base.dtype, torch.float32)
        self.parameter = nn.Parameter(base.detach().to(wide, copy=True))
        if base.dtype == wide:
            self.held = self.seen = self.parameter
        else:
            self.held = base.detach().clone()
            self.seen = self.see()

    def write(self) -> None:
        """Round the trained copy into the memory that modules read."""
        self.held.copy_(self.parameter.detach())

    def gradient(self, grad: torch.Tensor) -> torch.Tensor:
        """The full gradient."""
        return grad

    def original(self) -> torch.Tensor:
        """The whole parameter."""
        return self.base.detach()

    def stored(self) -> dict[str, torch.Tensor]:
        """The trained copy under the parameter's name."""
        return {self.name: self.parameter.detach()}

    @torch.no_grad()
    def take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Replace the trained copy."""
        self.parameter.copy_(tensors[self.name])

    @torch.no_grad()
    def fold(self) -> None:
        """Round the trained copy into the base's own."""
        self.off()
        self.base.copy_(self.parameter)


class Sparse(Tuned):
    """Chosen values of a parameter; the rest are the base's, in the base's own memory.

    Per chosen value: 4 bytes of value, 4 of gradient, 8 of AdamW's moments, 8 of position (8 more
    per dimension if gradients are not contiguous), and the base's own value. Only the gradient is
    as large as the parameter, during the backward pass.
    """

    def __init__(
        self, name: str, base: nn.Parameter, owners: Owners, index_K: torch.Tensor
    ) -> None:
        super().__init__(name, base, owners)
        self._place(index_K)
        wide = torch.promote_types(base.dtype, torch.float32)
        self.parameter = nn.Parameter(self._original_K.to(wide, copy=True))
        self.held = base.detach()
        self.seen = self.see()

    def _place(self, index_K: torch.Tensor) -> None:
        self.index_K = index_K.to(self.base.device, torch.int64)
        self._coordinates: tuple[torch.Tensor, ...] | None = None
        self._original_K = self._chosen(self.base.detach())

    def write(self) -> None:
        """Write the chosen values into the base's memory."""
        self._put(self.parameter.detach())

    def off(self) -> None:
        """Restore the base's own values, bit for bit."""
        super().off()
        self._put(self._original_K)

    def gradient(self, grad: torch.Tensor) -> torch.Tensor:
        """The gradient at the chosen positions."""
        return self._chosen(grad)

    def original(self) -> torch.Tensor:
        """The base's values at the chosen positions."""
        return self._original_K

    def stored(self) -> dict[str, torch.Tensor]:
        """Positions in the flattened parameter, and the values there."""
        small = self.base.numel() <= torch.iinfo(torch.int32).max
        index_K = self.index_K.to(torch.int32 if small else torch.int64)
        return {f"{self.name}.indices": index_K, f"{self.name}.values": self.parameter.detach()}

    @torch.no_grad()
    def take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Replace positions and values."""
        was_on = self.is_on
        if was_on:
            self.off()
        self._place(tensors[f"{self.name}.indices"])
        self.parameter.copy_(tensors[f"{self.name}.values"])
        if was_on:
            self.on()

    def fold(self) -> None:
        """Leave the chosen values in the base's memory."""
        self.refresh()
        super().off()

    def _put(self, values_K: torch.Tensor) -> None:
        values_K = values_K.to(self.held.dtype)
        if self.held.is_contiguous():
            self.held.view(-1).index_copy_(0, self.index_K, values_K)
        else:
            self.held[self._at] = values_K

    def _chosen(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_contiguous():
            return tensor.view(-1)[self.index_K]
        return tensor[self._at]

    @property
    def _at(self) -> tuple[torch.Tensor, ...]:
        """The positions as coordinates, for a tensor that cannot be flattened without a copy."""
        if self._coordinates is None:
            self._coordinates = torch.unravel_index(self.index_K, self.base.shape)
        return self._coordinates

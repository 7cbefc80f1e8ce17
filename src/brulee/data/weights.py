"""Checks the weights of a mixture's members before any data is read."""

from __future__ import annotations

from collections.abc import Container

from brulee.errors import InputError
from brulee.recipe import DataSpec, MixSpec, MixtureSpec, Source
from brulee.yaml_lines import KeyPath

_OF_ROWS = ("rate_cap", "temperature", "scale")


def check_weights(
    data: DataSpec | MixtureSpec,
    source: Source,
    held_out: Container[KeyPath] = (),
    at: KeyPath = ("data",),
) -> None:
    """Raise InputError, naming the line, for a weight that is missing or unused.

    `held_out` are the key paths of tasks that are not drawn and need no weight, in nested mixtures
    too. Options (`rate_cap`, ...) that the kind of mixture does not use are rejected as well.
    """
    if isinstance(data, DataSpec):
        if at == ("data",) and data.weight is not None:
            raise InputError(
                f"{source.at((*at, 'weight'))}: data.weight applies to a task of a mixture, and "
                "this is a single task; leave it out."
            )
        return
    kind = data.mix.kind
    for key in _OF_ROWS:
        if kind != "proportional" and getattr(data.mix, key) != MixSpec.model_fields[key].default:
            place = source.at((*at, "mix", key))
            raise InputError(
                f"{place}: {key} applies to mix.kind: proportional, and it is {kind}; leave it out."
            )
    for number, member in enumerate(data.tasks):
        here = (*at, "tasks", number)
        if kind == "weights" and member.weight is None and not _is_held_out(member, here, held_out):
            raise InputError(
                f"{source.at(here)}: {_called(member)} needs a weight, as mix.kind is weights; for "
                "instance weight: 1."
            )
        if kind != "weights" and member.weight is not None:
            raise InputError(
                f"{source.at((*here, 'weight'))}: {_called(member)} has a weight, which is not "
                f"used, as mix.kind is {kind}; write mix: {{kind: weights}}, or leave it out."
            )
        check_weights(member, source, held_out, here)


def _is_held_out(member: DataSpec | MixtureSpec, at: KeyPath, held_out: Container[KeyPath]) -> bool:
    if isinstance(member, DataSpec):
        return at in held_out
    inside = enumerate(member.tasks)
    return all(_is_held_out(one, (*at, "tasks", i), held_out) for i, one in inside)


def _called(member: DataSpec | MixtureSpec) -> str:
    own = member.source if isinstance(member, DataSpec) else "this mixture"
    return repr(member.name) if member.name else own

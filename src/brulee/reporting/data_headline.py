"""An inspection in one sentence, followed by further facts, alarms first."""

from __future__ import annotations

from dataclasses import dataclass

from brulee.data.inspection import Inspection
from brulee.reporting import wording

_LEAKS = 4
_MANY = 0.01


@dataclass(frozen=True)
class Clause:
    """One fact; an alarm calls for action."""

    text: str
    alarm: bool = False


def headline(found: Inspection) -> str:
    """The amount of training data and its length."""
    trained = [task for task in found.tasks if not task.held_out]
    rows = sum(task.counts["train"] for task in trained)
    of = f" of {len(trained)} tasks" if len(trained) > 1 else ""
    longest = f"{found.total.p50:,} tokens at the median, {found.total.max:,} at most"
    read = f" (the first {found.measured:,} are measured here)"
    return (
        f"{rows:,} training rows{of}; training reads {found.draws:,} documents drawn from them"
        f"{read if found.measured < found.draws else ''}: {longest}"
    )


def clauses(found: Inspection) -> list[Clause]:
    """Clauses on cuts, tokens with loss, batches, splits, repeats, odd epochs and framing."""
    said = [
        *_pieces(found),
        *_cut(found),
        _loss(found),
        _batches(found),
        *_splits(found),
        *_repeats(found),
        *_epochs(found),
        *_framing(found),
    ]
    return sorted(said, key=lambda clause: not clause.alarm)


def _pieces(found: Inspection) -> list[Clause]:
    """How many pieces the plain texts are divided into."""
    said = []
    for task in (task for task in found.tasks if task.pieces):
        texts, pieces = sum(task.counts.values()), sum(task.pieces.values())
        name = f"{task.path}: " if len(found.tasks) > 1 else ""
        text = f"{name}{texts:,} plain text{'' if texts == 1 else 's'}"
        if pieces > texts:
            text += (
                f", divided into {pieces:,} pieces of at most {found.max_length:,} tokens, each a "
                f"document; {task.pieces['train']:,} are trained on"
            )
        else:
            text += f", none of them longer than max_length, {found.max_length:,} tokens"
        said.append(Clause(text))
    return said


def _loss(found: Inspection) -> Clause:
    share, weight = wording.percent(found.learned_share), found.prompt_loss_weight
    if not weight:
        return Clause(f"{share} of the tokens carry loss")
    times = "as much" if weight == 1 else f"{weight:g} times"
    return Clause(f"{share} of the tokens are learned, and the loss of the others counts {times}")


def _cut(found: Inspection) -> list[Clause]:
    if all(task.pieces for task in found.tasks):
        return []
    here, limit = found.cut_here, f"{found.max_length:,} tokens"
    if not here.rows_cut and not here.misfits and not here.fewer_examples:
        return [Clause(f"no row is longer than max_length, {limit}")]
    said = []
    if here.rows_cut:
        share = wording.percent(here.rows_cut / found.measured)
        said.append(Clause(f"{share} of the rows lose the end of their source at {limit}"))
    if here.fewer_examples:
        share = wording.percent(here.fewer_examples / found.measured)
        said.append(Clause(f"{share} of the rows show fewer examples in order to fit into {limit}"))
    rephrased = here.misfits - found.left_out
    if rephrased:
        share = wording.percent(rephrased / found.measured)
        text = f"{share} of the rows take another template in order to fit into {limit}"
        said.append(Clause(text, alarm=rephrased >= _MANY * found.measured))
    if found.left_out:
        share = wording.percent(found.left_out / found.measured)
        said.append(Clause(f"{share} of the rows do not fit into {limit}: left out", True))
    return said


def _batches(found: Inspection) -> Clause:
    padding = wording.percent(found.packing.padding)
    return Clause(f"padded batches of {found.packing.batch_size} would be {padding} padding")


def _splits(found: Inspection) -> list[Clause]:
    bad = ("error", "warning")
    said = [
        (f"{task.path}: " if len(found.tasks) > 1 else "") + sentence.removesuffix(".")
        for severity in bad
        for task in found.tasks
        for how, sentence in task.texts.leaks
        if how == severity
    ]
    errors = sum(how == "error" for task in found.tasks for how, _ in task.texts.leaks)
    shown = [Clause(text, alarm=number < errors) for number, text in enumerate(said[:_LEAKS])]
    if len(said) > _LEAKS:
        shown.append(Clause(f"{len(said) - _LEAKS} more overlaps between splits", errors > _LEAKS))
    if not errors and any(task.counts["test"] for task in found.tasks):
        shown.append(Clause("no input is in two splits"))
    return shown


def _repeats(found: Inspection) -> list[Clause]:
    exact = sum(task.duplicates for task in found.tasks)
    near = sum(task.near_duplicates for task in found.tasks)
    if not exact and not near:
        return [Clause("no duplicate rows")]
    said = []
    if exact:
        said.append(Clause(f"{_rows(exact, 'duplicate')} left out"))
    if near:
        like = "it resembles" if near == 1 else "they resemble"
        said.append(Clause(f"{_rows(near, 'near-duplicate')} kept in the split of the row {like}"))
    return said


def _rows(count: int, kind: str) -> str:
    return f"1 {kind} row is" if count == 1 else f"{count:,} {kind} rows are"


def _epochs(found: Inspection) -> list[Clause]:
    odd = [one for one in found.mix if one.odd] if len(found.mix) > 1 else []
    said = [Clause(f"{one.task} is drawn for {one.epochs:.2g} epochs", True) for one in odd[:3]]
    if len(odd) > 3:
        count = len(odd) - 3
        said.append(Clause(f"{count} more tasks get fewer than 1 or more than 10 epochs", True))
    return said


def _framing(found: Inspection) -> list[Clause]:
    framing = found.framing
    said = []
    if framing.same_prompt < framing.checked:
        count = framing.checked - framing.same_prompt
        text = f"{count} of {framing.checked} rows read differently in training and at inference"
        said.append(Clause(text, True))
    if framing.ends_turn < framing.checked:
        count = framing.checked - framing.ends_turn
        text = f"{count} of {framing.checked} rows do not end in an end-of-turn token"
        said.append(Clause(text, True))
    if framing.doubled_start:
        count = framing.doubled_start
        text = f"{count} of {framing.checked} rows begin with two beginning-of-text tokens"
        said.append(Clause(text, True))
    return said

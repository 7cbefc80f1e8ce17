"""What the model will see of a recipe's data, computed once for the terminal, a page and JSON.

Plain values only: `dataclasses.asdict` of an `Inspection` can be serialised as JSON. Lengths are
those of training draws, in the order of training, before cutting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from brulee.data.corpus import Corpus
from brulee.data.encoding import Encoder
from brulee.data.inspection_draws import Drawn, key_of, measure
from brulee.data.inspection_lengths import (
    Cut,
    Lengths,
    MeasuredDocument,
    Packing,
    cuts,
    lengths,
    packing,
    sizes,
)
from brulee.data.inspection_mix import Mix, mix_of_tasks, mix_of_templates
from brulee.data.inspection_rows import Shown, show
from brulee.data.inspection_texts import Texts, read_texts
from brulee.data.pieces import divide
from brulee.data.splits import NAMES
from brulee.data.task import Task
from brulee.errors import InputError
from brulee.progress import bar, silent, waiting
from brulee.recipe import Recipe, TrainSpec

DRAWS = 20_000
DRAWS_WITH_SHOTS = 5_000
TEXTS = 200_000
_TRIES = 20


@dataclass(frozen=True)
class TaskFacts:
    """One task: its rows, their splits, and statistics of its texts.

    `counts` are the rows of each split; `dropped` the rows left out, by reason; `held_out` says why
    the task is not trained on. `pieces` are the counts of pieces in each split that plain texts are
    divided into; empty for other tasks.
    """

    path: str
    source: str
    rows: int
    templates: tuple[str, ...]
    held_out_templates: tuple[str, ...]
    held_out: str
    published: tuple[str, ...]
    counts: dict[str, int]
    dropped: dict[str, int]
    duplicates: int
    near_duplicates: int
    texts: Texts
    pieces: dict[str, int]

    @property
    def leaks(self) -> bool:
        """Whether an input of one split is also in another."""
        return bool(self.texts.leakage.errors)


@dataclass(frozen=True)
class Framing:
    """How many of the rows shown are framed correctly.

    `ends_turn` counts the rows that end in a stop token, `same_prompt` those whose prompt is
    identical to that at inference, `doubled_start` those that start with two BOS tokens.
    """

    checked: int
    ends_turn: int
    same_prompt: int
    doubled_start: int


@dataclass(frozen=True)
class Inspection:
    """The whole inspection; see its parts.

    `draws` is the number of draws in training, `measured` how many were encoded, from the first
    on; `left_out` of these fit under no template. `failed` could not be encoded, with `problem` as
    the first reason. `longest` is the location of the longest. `learned_share` is the share of
    tokens of answers after cutting; the others carry loss `prompt_loss_weight` times.
    """

    name: str
    model: str
    max_length: int
    draws: int
    measured: int
    left_out: int
    failed: int
    problem: str
    longest: str
    tasks: tuple[TaskFacts, ...]
    prompt: Lengths
    completion: Lengths
    total: Lengths
    cuts: tuple[Cut, ...]
    packing: Packing
    learned_share: float
    prompt_loss_weight: float
    mix: tuple[Mix, ...]
    templates: tuple[Mix, ...]
    framing: Framing
    rows: tuple[Shown, ...]
    rows_left_out: int

    @property
    def cut_here(self) -> Cut:
        """The effect of the recipe's own `max_length`."""
        return next(cut for cut in self.cuts if cut.max_length == self.max_length)


@waiting("Describing the data")
def inspect(
    recipe: Recipe,
    corpus: Corpus,
    encoder: Encoder,
    *,
    rows: int = 3,
    token_budget: int = 8192,
    most_shown: int = 600,
) -> Inspection:
    """Inspect a recipe's data before training; `rows` rows are rendered per template.

    At most 20,000 draws are encoded (5,000 with few-shot examples, as these are also measured with
    fewer examples) and 200,000 rows read, shared by the tasks. Raises InputError, with the first
    row's reason, if no row fits.
    """
    train, corpus = recipe.train, divide(corpus, encoder)
    trained = {p: corpus.tasks[p].train for p in corpus.trained}
    mixture = corpus.mixture(trained, train.seed, train.shuffle)
    draws = _draws(train, len(mixture))
    most = DRAWS_WITH_SHOTS if any(spec.shots for _, spec in recipe.tasks) else DRAWS
    drawn = measure(corpus, mixture, encoder, train.seed, min(most, len(mixture), draws))
    measured = drawn.documents
    if not drawn.used:
        with recipe.source.placing():
            raise InputError(drawn.problem or _nothing_fits(corpus, measured, encoder.max_length))
    after = [m.after(encoder.max_length) for m in drawn.used]
    shown, left_out = _shown(corpus, encoder, drawn, rows, most_shown, train.seed)
    return Inspection(
        name=recipe.name or recipe.source.label,
        model=recipe.base.name,
        max_length=encoder.max_length,
        draws=draws,
        measured=len(measured),
        left_out=len(measured) - len(drawn.used),
        failed=drawn.failed,
        problem=drawn.problem,
        longest=_place(corpus, max(measured, key=lambda m: m.length)),
        tasks=tuple(_facts_of_all(corpus)),
        prompt=lengths([m.prompt for m in measured]),
        completion=lengths([m.learned for m in measured]),
        total=lengths([m.length for m in measured]),
        cuts=cuts(measured, sizes(measured, encoder.max_length)),
        packing=packing(after, train.batch_size, token_budget),
        learned_share=sum(m.learned for m in drawn.used) / sum(after),
        prompt_loss_weight=train.prompt_loss_weight,
        mix=mix_of_tasks(mixture, draws, drawn, encoder.max_length),
        templates=mix_of_templates(corpus, drawn, encoder.max_length),
        framing=_framing(encoder, shown),
        rows=tuple(shown),
        rows_left_out=left_out,
    )


def _draws(train: TrainSpec, count: int) -> int:
    """How many documents a training on `count` documents an epoch draws."""
    draws = max(1, math.ceil(train.epochs * count))
    if train.max_steps is None:
        return draws
    return min(draws, train.max_steps * train.batch_size * train.accumulation)


def _facts_of_all(corpus: Corpus) -> Iterator[TaskFacts]:
    share = TEXTS // len(corpus.tasks)
    # A single task shows its own bar.
    several = len(corpus.tasks) > 1
    with bar("Reading tasks", len(corpus.tasks), "tasks") if several else silent() as progress:
        for path, task in corpus.tasks.items():
            yield _facts(corpus, path, task, share)
            progress.advance()


def _nothing_fits(corpus: Corpus, measured: Sequence[MeasuredDocument], most: int) -> str:
    shortest = min(measured, key=lambda m: m.length)
    return (
        f"train.max_length = {most}: no row fits; raise it, or shorten the completions; the "
        f"shortest: {_place(corpus, shortest)}, of which {shortest.learned:,} are "
        "learned."
    )


def _place(corpus: Corpus, document: MeasuredDocument) -> str:
    return f"{corpus.tasks[document.part].rows.place(document.row)} ({document.length:,} tokens)"


def _facts(corpus: Corpus, path: str, divided: Task, most: int) -> TaskFacts:
    task = divided.whole
    return TaskFacts(
        path,
        task.rows.name,
        len(task.rows),
        tuple(t.name for t in task.templates),
        tuple(t.name for t in task.held_out),
        corpus.held_out.get(path, ""),
        tuple(sorted(task.rows.published)),
        {name: len(getattr(task, name)) for name in NAMES},
        {reason: count for reason, count in task.dropped.items() if count},
        task.splits.duplicates,
        task.splits.near_duplicates,
        read_texts(path, task, most),
        {name: len(getattr(divided, name)) for name in NAMES} if divided.division else {},
    )


def _shown(
    corpus: Corpus, encoder: Encoder, drawn: Drawn, rows: int, most: int, seed: int
) -> tuple[list[Shown], int]:
    """`rows` rows of every template, with a cut one if any was drawn, and how many were left out.

    If there would be more than `most`, templates get fewer rows each, then only the first ones any.
    """
    asked = [
        (path, number)
        for path, task in corpus.tasks.items()
        for number in range(len(task.templates) + len(task.held_out))
    ]
    each = min(rows, max(1, most // len(asked)))
    if each == 0:
        return [], 0
    long = {(m.part, m.template): m.row for m in drawn.documents if m.length > encoder.max_length}
    found: list[Shown] = []
    for path, template in asked[:most]:
        task = corpus.tasks[path]
        cut = long.get((path, template))
        order = (row for row in _spread(task.train, each) if row != cut)
        fresh = (show(task, path, encoder, r, template, key_of(seed, 0, r)) for r in order)
        plain = (one for one in fresh if one is not None)
        found += islice(plain, each if cut is None else each - 1)
        if cut is not None:
            last = show(task, path, encoder, cut, template, key_of(seed, 0, cut))
            found += [last] if last is not None else []
    marked = [replace(o, held_out=True) if o.task in corpus.held_out else o for o in found]
    return marked, len(asked) * (rows - each)


def _spread(rows: Sequence[int], each: int) -> Iterator[int]:
    """Rows spread evenly over the data, the same for every template, with spares."""
    step = max(1, len(rows) // each)
    for start in range(min(step, _TRIES)):
        yield from rows[start::step]


def _framing(encoder: Encoder, shown: Sequence[Shown]) -> Framing:
    # Plain texts have no end of turn and no prompt at inference.
    written = [one for one in shown if one.pieces and not one.plain]
    start = encoder.tokenizer.bos_token_id
    documents = [[i for piece in one.pieces for i in piece.ids] for one in written]
    begun = [[i for piece in one.pieces[:2] for i in piece.ids] for one in shown]
    return Framing(
        len(written),
        sum(ids[-1] in encoder.stop_ids for ids in documents),
        sum(one.same for one in written),
        sum(start is not None and ids[:2] == [start, start] for ids in begun),
    )

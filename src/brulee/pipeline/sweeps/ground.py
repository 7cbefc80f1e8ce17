"""What all trials of a sweep share, read before the first: validation rows, steps, digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brulee.data.corpus import Corpus, open_corpus
from brulee.data.lengths import fitting_rows
from brulee.data.pieces import divide
from brulee.errors import InputError
from brulee.methods.continuing import method_of
from brulee.models.tokenizers import load_encoder
from brulee.pipeline.record import facts_of
from brulee.pipeline.sweeps.space import Space
from brulee.recipe import Recipe
from brulee.training.documents import course

# Axes with which steps of the same number are not comparable.
_STEPS = ("train.epochs", "train.max_steps", "train.batch_size", "train.accumulation")


@dataclass(frozen=True)
class Ground:
    """`rows` and `learned` count the rows and learned tokens that every trial is validated on.

    `documents` is the number per epoch; `facts` are the digests of data, templates and base.
    """

    corpus: Corpus
    rows: int
    learned: int
    documents: int
    facts: Mapping[str, Any]


def look(recipe: Recipe) -> Ground:
    """Read the rows as a training would. Raises InputError if there are no validation rows."""
    corpus, encoder = open_corpus(recipe), load_encoder(recipe)
    if not any(corpus.tasks[path].validation for path in corpus.trained):
        raise InputError(
            f"{recipe.source.at(('data',))}: a sweep chooses by validation rows, and there are "
            "none; set data.split.validation, for instance to 0.1."
        )
    # A method's prefix takes room in every piece of a plain text.
    reserved = method_of(recipe).virtual_tokens()
    whole, corpus = corpus, divide(corpus, encoder.with_prefix((0,) * reserved))
    tasks = [corpus.tasks[path] for path in corpus.trained]
    rows = learned = 0
    with recipe.source.placing():
        kept = [fitting_rows(task, encoder, task.validation, "validation").rows for task in tasks]
        fitting = {
            path: fitting_rows(corpus.tasks[path], encoder, corpus.tasks[path].train).rows
            for path in corpus.trained
        }
    for task, of in zip(tasks, kept, strict=True):
        for row in of:
            found = task.encode(encoder, row, 0, "")
            rows += found is not None
            learned += found.learned if found else 0
    documents = len(corpus.mixture(fitting, recipe.train.seed))
    return Ground(whole, rows, learned, documents, facts_of(recipe, whole))


def check_pruning(space: Space, ground: Ground) -> None:
    """Raise InputError if no trial could be pruned, or not by a fair comparison."""
    for axis in space.axes:
        if axis.key in _STEPS:
            raise InputError(
                f"--prune compares losses at the same step, and {axis.key} changes what a step "
                "stands for; leave out one of them."
            )
    train = space.recipe.train
    planned = course(train, ground.documents)
    every = planned.interval(train.validate_every)
    if every >= planned.steps:
        most = planned.steps // 2
        mend = f"set train.validate_every to {most} or less" if most else "train for more steps"
        raise InputError(
            f"{space.recipe.source.at(('train', 'validate_every'))}: --prune can end no trial "
            f"early, as a training of {planned.steps} steps is validated every {float(every):g}; "
            f"{mend}."
        )

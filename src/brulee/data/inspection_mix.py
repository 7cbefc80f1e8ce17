"""The share of the training that each task and template gets, in rows and in tokens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from brulee.data.corpus import Corpus
from brulee.data.inspection_draws import Drawn
from brulee.data.inspection_lengths import MeasuredDocument
from brulee.data.mixture import Mixture

# With fewer epochs some rows are never seen; with more they are memorised.
FEWEST_EPOCHS, MOST_EPOCHS = 1, 10


@dataclass(frozen=True)
class Mix:
    """One task, or one template of it.

    `draws` is the number of training samples; `rows` of `of_rows` rows are in use; `stated` is the
    rate that the recipe gives, None for a template. Shares are of the whole training.
    """

    task: str
    template: str
    draws: int
    share: float
    stated: float | None
    tokens: int
    token_share: float
    rows: int
    of_rows: int
    epochs: float | None

    @property
    def odd(self) -> bool:
        """Whether some of its rows are never seen, or all too often."""
        return self.epochs is not None and not (
            FEWEST_EPOCHS <= round(self.epochs, 2) <= MOST_EPOCHS
        )


def mix_of_tasks(mixture: Mixture, draws: int, drawn: Drawn, most: int) -> tuple[Mix, ...]:
    """The composition of `draws` draws by task; tokens are extrapolated from the measured rows."""
    means = _means(drawn, most)
    reports = mixture.describe(draws, {path: means.get(path, 0.0) for path in mixture.parts})
    return tuple(
        Mix(
            report.part,
            "",
            report.draws,
            report.realised,
            report.share,
            round(report.draws * means.get(report.part, 0.0)),
            report.token_share or 0.0,
            report.rows,
            report.of_rows,
            report.epochs,
        )
        for report in reports
    )


def mix_of_templates(corpus: Corpus, drawn: Drawn, most: int) -> tuple[Mix, ...]:
    """The composition of the measured draws by template."""
    counts: Counter[tuple[str, int]] = Counter()
    tokens: Counter[tuple[str, int]] = Counter()
    for document in drawn.used:
        counts[document.part, document.template] += 1
        tokens[document.part, document.template] += document.after(most)
    total = max(1, tokens.total())
    return tuple(
        Mix(
            path,
            template.name,
            counts[path, number],
            counts[path, number] / max(1, len(drawn.used)),
            None,
            tokens[path, number],
            tokens[path, number] / total,
            counts[path, number],
            len(corpus.tasks[path].train),
            None,
        )
        for path in corpus.trained
        for number, template in enumerate(corpus.tasks[path].templates)
    )


def _means(drawn: Drawn, most: int) -> dict[str, float]:
    found: dict[str, list[MeasuredDocument]] = {}
    for document in (*drawn.used, *drawn.further):
        found.setdefault(document.part, []).append(document)
    return {
        path: sum(m.after(most) for m in documents) / len(documents)
        for path, documents in found.items()
    }

"""SuperGLUE's two reading-comprehension tasks, MultiRC and ReCoRD, whose items share passages.

MultiRC classifies every answer to a question as correct or not; all answers to a question share
their context. ReCoRD fills the query's gap with every entity of the passage. Both use the prompts
of lm-evaluation-harness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, final

import numpy as np

from brulee.evaluation.base import Array
from brulee.evaluation.matching import quasi_exact_match, token_f1
from brulee.evaluation.suites.labels import likeliest
from brulee.evaluation.suites.passages import MultiRCRow, Place, ReCoRDRow, read_row
from brulee.evaluation.suites.rows import Row
from brulee.evaluation.tasks import Example, Judged, Reply, SuiteTask

Load = Callable[[], Sequence[Row]]
_GAP: Final = "@placeholder"


@final
class MultiRC(SuiteTask):
    """F1 over all answers, and the share of questions with all answers classified correctly."""

    metrics = ("f1a", "exact_match")

    def __init__(self, name: str, load: Load) -> None:
        self.name, self._load = name, load

    def examples(self, limit: int | None = None) -> list[Example]:
        """One example per question; its choices are "yes" and "no" for each answer."""
        found = (one for row in self._load() for one in _questions(row))
        return [one for one, _ in zip(found, range(limit), strict=False)] if limit else list(found)

    def judge(self, example: Example, reply: Reply) -> Judged:
        """A digit for each answer: 1 if the model considers it correct."""
        logs = [f.log_probability for f in reply.likelihoods]
        given = [int(yes > no) for yes, no in zip(logs[::2], logs[1::2], strict=True)]
        output = " ".join(map(str, given))
        wanted = example.about["labels"]
        if None in wanted:
            return Judged(output)
        hits = sum(g * w for g, w in zip(given, wanted, strict=True))
        return Judged(
            output,
            {
                "f1a": [float(hits), float(sum(given)), float(sum(wanted))],
                "exact_match": [float(given == wanted)],
            },
        )

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """F1a from mean counts (..., 3): (...); else the mean."""
        if key != "f1a":
            return super().reduce(key, mean_S, items)
        mean = np.asarray(mean_S, dtype=np.float64)
        either = mean[..., 1] + mean[..., 2]
        return np.where(either > 0, 2 * mean[..., 0] / np.where(either > 0, either, 1.0), 0.0)


@final
class ReCoRD(SuiteTask):
    """Token F1 and exact match of the chosen entity, each against the best reference."""

    metrics = ("f1", "exact_match")

    def __init__(self, name: str, load: Load) -> None:
        self.name, self._load = name, load

    def examples(self, limit: int | None = None) -> list[Example]:
        """One example per query; its choices are the query with each entity in the gap."""
        found = (one for row in self._load() for one in _queries(row))
        return [one for one, _ in zip(found, range(limit), strict=False)] if limit else list(found)

    def judge(self, example: Example, reply: Reply) -> Judged:
        """The chosen entity and its scores."""
        output = example.about["entities"][likeliest(reply)]
        if not example.references:
            return Judged(output)
        f1 = max(token_f1(output, reference) for reference in example.references)
        exact = max(quasi_exact_match(output, reference) for reference in example.references)
        return Judged(output, {"f1": [f1], "exact_match": [exact]})


def multirc_from_hub(rows: Sequence[Row]) -> list[Row]:
    """The Hub's rows, one per answer, as official ones, one per passage."""
    passages: dict[int, dict[str, Any]] = {}
    for row in rows:
        at = row.get("idx")
        passage = passages.setdefault(at["paragraph"], {"text": row.text("paragraph"), "of": {}})
        of = passage["of"].setdefault(
            at["question"], {"question": row.text("question"), "answers": []}
        )
        label = row.get("label")
        known = {} if label == -1 else {"label": label}
        of["answers"].append({"text": row.text("answer"), "idx": at["answer"], **known})
    return [
        Row(
            f"passage {number}",
            {
                "idx": number,
                "passage": {
                    "text": passage["text"],
                    "questions": [{**q, "idx": i} for i, q in passage["of"].items()],
                },
            },
        )
        for number, passage in passages.items()
    ]


def record_from_hub(rows: Sequence[Row]) -> list[Row]:
    """The Hub's rows, one per query with its entities as text, as official ones."""
    return [
        Row(
            row.place,
            {
                "idx": row.get("idx")["passage"],
                "passage": {"text": row.text("passage"), "entities": row.get("entities")},
                "qas": [
                    {
                        "query": row.text("query"),
                        "idx": row.get("idx")["query"],
                        "answers": [{"text": text} for text in row.get("answers")],
                    }
                ],
            },
        )
        for row in rows
    ]


def _questions(row: Row) -> Iterator[Example]:
    read = read_row(MultiRCRow, row)
    for question in read.passage.questions:
        labels = [answer.label for answer in question.answers]
        texts = [answer.text for answer in question.answers]
        endings = [f" {text}\nIs the answer correct? " for text in texts]
        right = [2 * i if label else 2 * i + 1 for i, label in enumerate(labels)]
        known = None not in labels
        yield Example(
            id=f"{read.idx}/{question.idx}",
            question=f"{read.passage.text}\nQuestion: {question.question}\nAnswer:",
            choices=tuple(f"{ending}{word}" for ending in endings for word in ("yes", "no")),
            references=tuple(t for t, label in zip(texts, labels, strict=True) if label),
            cluster=str(read.idx),
            about={
                "labels": labels,
                "index": (read.idx, question.idx, [answer.idx for answer in question.answers]),
                **({"gold": right} if known else {}),
            },
        )


def _queries(row: Row) -> Iterator[Example]:
    read = read_row(ReCoRDRow, row)
    text = read.passage.text
    entities = list(dict.fromkeys(_entity(entity, text) for entity in read.passage.entities))
    body, *highlights = text.strip().split("\n@highlight\n")
    context = f"{body}\n\n" + "".join(f"  - {highlight}.\n" for highlight in highlights)
    for query in read.qas:
        references = tuple(dict.fromkeys(answer.text for answer in query.answers))
        right = [i for i, entity in enumerate(entities) if entity in references]
        yield Example(
            id=str(query.idx),
            question=context,
            choices=tuple(f"  - {query.query}".replace(_GAP, entity) for entity in entities),
            references=references,
            cluster=str(read.idx),
            about={
                "entities": entities,
                "index": query.idx,
                **({"gold": right} if right else {}),
            },
        )


def _entity(entity: str | Place, text: str) -> str:
    """An entity as text; the official files give its first and last character."""
    return entity if isinstance(entity, str) else text[entity.start : entity.end + 1]

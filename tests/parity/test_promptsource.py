"""What `brulee templates render` prints for a promptsource file is what promptsource rendered.

The 200 pairs are P3's for amazon_polarity; their rows are read back from the prompts.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path

import pytest

from brulee.cli.main import build_app

GOLD = "promptsource_gold/amazon_polarity_user_satisfied.jsonl"
# The one template of promptsource 0.2.3, templates/amazon_polarity/templates.yaml, that they used.
FILE = r"""
dataset: amazon_polarity
templates:
  b13369e8-0500-4e93-90d4-8e6814bfb97b: !Template
    answer_choices: dissatisfied ||| satisfied
    id: b13369e8-0500-4e93-90d4-8e6814bfb97b
    jinja: 'Here is a review left by a customer on a product. Would you say he was
      {{answer_choices[1]}} or {{answer_choices[0]}}?

      Title: {{title}}

      Review: {{content}}

      |||

      {{answer_choices[label]}} '
    metadata: !TemplateMetadata
      choices_in_prompt: true
      metrics:
      - Accuracy
      original_task: true
    name: user_satisfied
    reference: ''
"""


@pytest.mark.skipif("BRULEE_REAL_DATA" not in os.environ, reason="BRULEE_REAL_DATA is not set")
def test_the_200_pairs_come_out_as_promptsource_rendered_them(tmp_path: Path) -> None:
    text = (Path(os.environ["BRULEE_REAL_DATA"]) / GOLD).read_text(encoding="utf-8")
    gold = [json.loads(line) for line in text.splitlines()]
    rows, templates = tmp_path / "rows.jsonl", tmp_path / "templates.yaml"
    rows.write_text("".join(json.dumps(_row(pair)) + "\n" for pair in gold), encoding="utf-8")
    templates.write_text(FILE, encoding="utf-8")
    printed = io.StringIO()
    command = ["templates", "render", "--promptsource", str(templates), "--name", "user_satisfied"]
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as left:
        build_app()([*command, "--rows", str(rows)])
    assert left.value.code in (0, None)
    found = [json.loads(line) for line in printed.getvalue().splitlines()]
    assert [_plain(pair) for pair in found] == [_plain(pair) for pair in gold]
    assert len(found) == 200


def _row(pair: dict[str, str]) -> dict[str, object]:
    head, _, content = pair["prompt"].replace("\r\n", "\n").partition("\nReview: ")
    label = int(_plain(pair)[1] == "satisfied")
    return {"title": head.partition("\nTitle: ")[2], "content": content, "label": label}


def _plain(pair: dict[str, str]) -> tuple[str, str]:
    """A pair with its white space made equal, without the end-of-text mark."""
    completion = pair["completion"].removesuffix("<|endoftext|>")
    return " ".join(pair["prompt"].split()), " ".join(completion.split())

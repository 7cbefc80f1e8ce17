from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from brulee.errors import InputError
from brulee.reporting import page_tables, terminal
from brulee.reporting.results import Cost, Results


def console(width: int = 80) -> Console:
    return Console(file=StringIO(), width=width, color_system=None)


def printed(on: Console) -> str:
    assert isinstance(on.file, StringIO)
    return on.file.getvalue()


def test_items_in_groups_are_all_of_them_though_a_score_is_of_some(example: Results) -> None:
    task = example.scores[0].task
    few = example.scores[0].model_copy(update={"metric": "no_call", "n": example.scores[0].n - 9})
    scores, groups = (*example.scores, few), {task: 12}
    on = console(200)
    terminal.show(example.model_copy(update={"scores": scores, "groups": groups}), on)
    assert f"{task}: {example.scores[0].n} in 12 groups" in printed(on)


def test_one_run_shows_verdict_scores_guards_cost_report(example: Results) -> None:
    on = console()
    terminal.show(example, on, Path("runs/demo/report.html"))
    text = printed(on)
    for part in (
        "LoRA r8 raised ROUGE-1",
        "+0.14  +0.10 to +0.18  < 0.001",
        "arithmetic exact match",
        "forgot",
        "2.44 M parameters trained",
        "Report: runs/demo/report.html",
    ):
        assert part in text


def test_a_run_says_in_which_precision_it_was_trained(example: Results) -> None:
    held = example.model_copy(update={"cost": Cost(train_seconds=43, precision="bfloat16")})
    assert terminal.cost(held) == "43 s of training in bfloat16"
    assert "<dt>Precision</dt><dd>bfloat16</dd>" in page_tables.cost(held)
    assert "Precision" not in page_tables.cost(example)


@pytest.mark.parametrize("width", [60, 80])
def test_no_line_is_wider_than_the_terminal_nor_cut_off(example: Results, width: int) -> None:
    on = console(width)
    terminal.show(example, on)
    terminal.compare([example, example], on)
    assert max(map(len, printed(on).splitlines())) <= width
    assert "…" not in printed(on)


def test_a_report_path_is_never_broken_over_lines(example: Results) -> None:
    on, path = console(), Path("/".join(["folder"] * 20)) / "report.html"
    terminal.show(example, on, path)
    assert f"Report: {path}\n" in printed(on)


def test_brackets_in_names_are_text_and_not_markup(example: Results) -> None:
    odd = example.model_copy(update={"run": "[bold]x[/]", "verdict": "[red]y"})
    on = console()
    terminal.show(odd, on)
    terminal.compare([odd], on)
    assert "[red]y" in printed(on)
    assert "[bold]x[/]" in printed(on)


def test_compared_runs_share_one_base_row_and_mark_what_is_missing(example: Results) -> None:
    other = example.model_copy(
        update={"run": "other", "scores": tuple(s for s in example.scores if s.metric != "bleu")}
    )
    on = console(110)
    terminal.compare([example, other], on)
    rows = printed(on).splitlines()
    assert next(row for row in rows if row.startswith("other")).split()[-1] == "-"
    assert "0.45 ±0.06" in printed(on)
    with pytest.raises(InputError, match="no run was given"):
        terminal.compare([], on)


def test_a_score_of_one_item_is_compared_without_an_interval(example: Results) -> None:
    alone = {"value": 0.45, "low": 0.45, "high": 0.45, "n": 1}
    scores = tuple(score.model_copy(update=alone) for score in example.scores)
    on = console(110)
    terminal.compare([example.model_copy(update={"scores": scores})], on)
    assert "0.45 " in printed(on)
    assert "±0.00" not in printed(on)


def test_two_bases_with_the_same_scores_are_both_shown(example: Results) -> None:
    other = example.model_copy(update={"base": example.base.model_copy(update={"name": "other"})})
    on = console(110)
    terminal.compare([example, example, other], on)
    table, *_ = printed(on).strip().split("\n\n")
    named = [row.split("  ")[0] for row in table.splitlines() if "(before)" in row]
    assert named == [f"{example.base.name} (before)", "other (before)"]


def test_bases_of_one_name_that_were_scored_otherwise_are_told_apart(example: Results) -> None:
    task = example.scores[0].task

    def scored(run: str, **change: Any) -> Results:
        changed = (
            s.model_copy(update=change) if s.task == task and s.who == "base" else s
            for s in example.scores
        )
        return example.model_copy(update={"run": run, "scores": tuple(changed)})

    def named(*runs: Results) -> list[str]:
        on = console(140)
        terminal.compare(runs, on)
        table, *_ = printed(on).strip().split("\n\n")
        return [row.split("  ")[0] for row in table.splitlines()[2:]]

    base = example.base.name
    first, other = scored("first"), scored("other", value=0.5)
    assert [n for n in named(first, other) if "before" in n] == [
        f"{base} (before, first)", f"{base} (before, other)",
    ]  # fmt: skip
    fewer = tuple(s.model_copy(update={"n": 7}) if s.task == task else s for s in other.scores)
    few = other.model_copy(update={"scores": fewer})
    most = max(s.n for s in example.scores if s.task == task)
    assert {f"{base} (before, {most} items)", f"{base} (before, 7 items)"} <= {*named(first, few)}
    assert {f"first, {most} items", "other, 7 items"} <= {*named(first, few)}


def test_a_run_that_measured_nothing_prints_no_empty_table(example: Results) -> None:
    bare = example.model_copy(update={"comparisons": (), "forgetting": (), "verdict": ""})
    on = console()
    terminal.show(bare, on)
    assert "Nothing was measured" in printed(on)
    assert "Difference" not in printed(on)


def test_an_evaluation_of_a_base_is_compared_by_its_own_row(example: Results) -> None:
    scores = tuple(score for score in example.scores if score.who == "base")
    alone = example.model_copy(update={"run": "eval-of-base", "scores": scores})
    on = console(110)
    terminal.compare([alone, example], on)
    rows = [row for row in printed(on).splitlines() if row.startswith("eval-of-base")]
    assert rows[0].split()[1:3] == ["0.31", "±0.04"]
    assert printed(on).count("(before)") == 1

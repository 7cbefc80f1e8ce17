from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from brulee.errors import InputError
from brulee.reporting import results as results_file
from brulee.reporting.leaderboard import Entry, Leaderboard, leaderboard, lower_is_better
from brulee.reporting.leaderboard_files import read_all, read_entries
from brulee.reporting.leaderboard_page import page
from brulee.reporting.leaderboard_text import as_csv, as_json, terminal
from brulee.reporting.results import Base, Method, Results, Score, SuiteUse
from brulee.reporting.terminal import compare


def entry(model: str, task: str, value: float, half: float = 0.05, **others: Any) -> Entry:
    values: dict[str, Any] = {"metric": "accuracy", "items": 10, "source": "file"} | others
    return Entry(model, task, value=value, low=value - half, high=value + half, **values)


def evaluated(folder: Path, suite: str, who: str, scores: list[tuple[str, str, float]]) -> Path:
    labels = {f"{suite} {scores[0][1].removesuffix('_partial')}": "mean"}
    results_file.write(
        Results(
            run=folder.name,
            base=Base(name="small", digest="d"),
            method=Method(name="lora", label="LoRA r8"),
            scores=tuple(
                Score(who=who, task=t, metric=m, value=v, low=v - 0.1, high=v + 0.1, n=20)
                for t, m, v in scores
            ),
            suite=SuiteUse(name=suite, labels=labels),
        ),
        folder,
    )  # fmt: skip
    return folder


def test_a_base_asked_about_fewer_items_elsewhere_is_one_model(tmp_path: Path) -> None:
    def on(folder: str, value: float, items: int, digest: str) -> str:
        path = evaluated(tmp_path / folder, "bundled", "base", [("t", "accuracy", value)])
        found = results_file.read(path)
        score = found.scores[0].model_copy(update={"n": items})
        base = found.base.model_copy(update={"digest": digest})
        results_file.write(found.model_copy(update={"scores": (score,), "base": base}), path)
        return str(path)

    few, all_of_them = on("few", 0.5, 30, "d"), on("all", 0.6, 220, "d")
    found = leaderboard(read_all([few, all_of_them]))
    assert found.models == ("small",)
    assert [(e.value, e.items) for e in found.entries] == [(0.6, 220)]
    others = on("again", 0.7, 220, "d"), on("other", 0.7, 30, "e"), on("equal", 0.6, 220, "e")
    for other in others:
        assert {e.model for e in read_all([all_of_them, other])} == {
            f"small, {all_of_them}",
            f"small, {other}",
        }


def test_a_suite_in_other_phrasings_is_another_task(tmp_path: Path) -> None:
    """Those of the library may be others after an update."""

    def asked(folder: str, *names: str) -> str:
        scores = [("cb", "accuracy", 0.5), *(("cb", f"accuracy@{name}", 0.5) for name in names)]
        scores += [("superglue", "average", 0.5)]
        path = evaluated(tmp_path / folder, "superglue", "base", scores)
        found = results_file.read(path)
        suite = SuiteUse(name="superglue", changed={"phrasings": "all"})
        results_file.write(found.model_copy(update={"suite": suite}), path)
        return f"{folder}={path}"

    old, new = asked("old", "a", "b"), asked("new", "a", "b", "c", "d", "e", "f")
    every = {(e.model, e.task) for e in read_all([old, new]) if "@" not in e.metric}
    how = "[phrasings=all]"
    assert every == {
        ("old", f"cb {how} [without 'c', 'd', 'e' and 1 more]"),
        ("new", f"cb {how} [with 'c', 'd', 'e' and 1 more]"),
        ("old", f"superglue {how} [without 'cb: c', 'cb: d', 'cb: e' and 1 more]"),
        ("new", f"superglue {how} [with 'cb: c', 'cb: d', 'cb: e' and 1 more]"),
    }
    on = Console(file=io.StringIO(), width=200, color_system=None)
    compare([results_file.read(tmp_path / name) for name in ("old", "new")], on)
    assert isinstance(on.file, io.StringIO)
    assert "A: a, b; B: a, b, c, d, e, f." in on.file.getvalue()
    assert {e.task for e in read_all([old, asked("again", "b", "a")])} == {
        f"cb {how}",
        f"superglue {how}",
    }


HARNESS = {
    "results": {
        "mmlu": {"alias": "mmlu", "acc,none": 0.3, "acc_stderr,none": 0.01},
        "mmlu_virology": {"acc,none": 0.4, "acc_stderr,none": 0.02},
        "wikitext": {"word_perplexity,none": 30.0, "word_perplexity_stderr,none": "N/A"},
    },
    "groups": {"mmlu": {}},
    "group_subtasks": {"mmlu": ["mmlu_virology"]},
    "higher_is_better": {"wikitext": {"word_perplexity": False}},
    "n-samples": {"mmlu_virology": {"original": 166, "effective": 166}},
    "model_name": "pretrained=org/model,dtype=float32",
}


@pytest.fixture
def harness(tmp_path: Path) -> Path:
    file = tmp_path / "published" / "results_2026.json"
    file.parent.mkdir()
    file.write_text(json.dumps(HARNESS))
    return file


def test_models_rank_by_their_mean_win_rate() -> None:
    found = leaderboard(
        [entry("a", "x", 0.5), entry("b", "x", 0.6), entry("a", "y", 0.1), entry("b", "y", 0.2)]
    )
    assert found.models == ("b", "a")
    assert found.wins == {"b": 1.0, "a": 0.0}
    assert found.columns == (("x", "accuracy"), ("y", "accuracy"))


def test_best_and_what_may_be_as_good() -> None:
    lead, close, far = entry("a", "x", 0.6), entry("b", "x", 0.57), entry("c", "x", 0.3)
    found = leaderboard([lead, close, far])
    assert found.best(("x", "accuracy")) is lead
    assert [found.near_best(e) for e in (close, far)] == [True, False]
    assert leaderboard([lead]).best(("x", "accuracy")) is None


def test_less_is_better_for_errors() -> None:
    ter: dict[str, Any] = {"metric": "ter", "higher_is_better": False}
    pair = [entry("a", "x", 0.2, **ter), entry("b", "x", 0.9, **ter)]
    found = leaderboard(pair)
    assert found.best(("x", "ter")) == pair[0]
    assert found.models == ("a", "b")
    assert lower_is_better("ece_10_bin")
    assert lower_is_better("bits_per_byte")
    assert lower_is_better("toxic_share_lexicon")
    assert lower_is_better("invalid")
    assert lower_is_better("bits_per_byte_partial")
    assert lower_is_better("ter,strict")
    assert not lower_is_better("interference")


def test_no_score_that_only_describes_is_best_or_wins(run_folder: Path) -> None:
    told: dict[str, Any] = {"metric": "coverage", "descriptive": True}
    found = leaderboard([entry("a", "x", 0.2, **told), entry("b", "x", 0.9, **told)])
    assert (found.best(("x", "coverage")), found.wins) == (None, {})
    older = entry("a", "x", 0.2, **told | {"descriptive": False})  # of a file that does not say so
    mixed = leaderboard([older, entry("b", "x", 0.9, **told)])
    assert (mixed.best(("x", "coverage")), mixed.wins) == (None, {})
    run = results_file.read(run_folder)
    pair = run.comparisons[0].model_copy(update={"descriptive": True})
    results_file.write(run.model_copy(update={"comparisons": (pair,)}), run_folder)
    read = {(e.task, e.metric) for e in read_entries(str(run_folder)) if e.descriptive}
    assert read == {(pair.task, pair.metric)}


def test_what_a_file_says_of_a_scores_direction_counts(tmp_path: Path, run_folder: Path) -> None:
    scores = [("t", "exact_match", 0.4), ("t", "ter", 0.2)]
    folder = evaluated(tmp_path / "out", "mine", "base", scores)
    said = results_file.read(folder)
    assert said.suite is not None
    suite = said.suite.model_copy(update={"lower_is_better": ("t exact_match",)})
    results_file.write(said.model_copy(update={"suite": suite}), folder)
    found = {e.metric: e.higher_is_better for e in read_entries(str(folder))}
    assert found == {"exact_match": False, "ter": True}
    run = results_file.read(run_folder)
    pair = run.comparisons[0].model_copy(update={"higher_is_better": False})
    results_file.write(run.model_copy(update={"comparisons": (pair,)}), run_folder)
    directions = {(e.task, e.metric): e.higher_is_better for e in read_entries(str(run_folder))}
    assert not directions[pair.task, pair.metric]


def test_a_run_shows_both_models_and_the_suites_beside_it(run_folder: Path) -> None:
    scores = [("mmlu", "accuracy_micro_partial", 0.4), ("mmlu/virology", "accuracy", 0.5)]
    evaluated(run_folder / "suites" / "mmlu", "mmlu", "tuned", scores)
    found = leaderboard(read_entries(str(run_folder)))
    tuned, base = found.models
    assert "LoRA" in tuned
    assert base == results_file.read(run_folder).base.name
    column = ("mmlu", "accuracy_micro")
    assert column in found.columns
    assert ("mmlu/virology", "accuracy") not in found.columns
    shown = found.entry(tuned, column)
    assert shown is not None
    assert shown.partial


def test_a_score_of_one_item_claims_no_interval(tmp_path: Path) -> None:
    folder = evaluated(tmp_path / "out", "mmlu", "base", [("mmlu", "accuracy_micro", 0.4)])
    found = results_file.read(folder)
    one = found.scores[0].model_copy(update={"low": 0.4, "high": 0.4, "n": 1})
    results_file.write(found.model_copy(update={"scores": (one,)}), folder)
    (entry,) = read_entries(str(folder))
    assert (entry.low, entry.high) == (None, None)


def test_every_score_is_shown_on_request(tmp_path: Path) -> None:
    scores = [("mmlu", "accuracy_micro", 0.4), ("mmlu/virology", "accuracy", 0.5)]
    entries = read_entries(str(evaluated(tmp_path / "out", "mmlu", "base", scores)))
    assert leaderboard(entries).columns == (("mmlu", "accuracy_micro"),)
    assert len(leaderboard(entries, tasks=True).columns) == 2


def test_tasks_that_no_average_covers_stand_for_themselves(tmp_path: Path) -> None:
    scores = [("glue", "score_partial", 0.4), ("other", "f1", 0.2), ("other", "accuracy", 0.1)]
    folder = evaluated(tmp_path / "out", "suite", "base", scores)
    assert leaderboard(read_entries(str(folder))).columns == (("glue", "score"), ("other", "f1"))


def test_a_name_can_be_given_to_a_path(tmp_path: Path) -> None:
    folder = evaluated(tmp_path / "out", "mmlu", "tuned", [("mmlu", "accuracy_micro", 0.4)])
    assert {e.model for e in read_entries(f"ours={folder}")} == {"ours"}
    assert {e.model for e in read_entries(str(folder))} == {"out (LoRA r8)"}


def test_published_results_of_the_harness_are_read(harness: Path) -> None:
    entries = read_entries(str(harness.parent))
    assert {e.model for e in entries} == {"org/model"}
    found = leaderboard(entries)
    assert found.columns == (("mmlu", "accuracy"), ("wikitext", "word_perplexity"))
    mmlu, wikitext = entries[0], entries[-1]
    assert (mmlu.low, mmlu.high) == (pytest.approx(0.3 - 0.0196), pytest.approx(0.3 + 0.0196))
    assert (wikitext.low, wikitext.higher_is_better) == (None, False)
    assert next(e for e in entries if e.task == "mmlu_virology").items == 166


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("b.json", "{}"), ("c", None)])
def test_other_files_are_refused_by_name(tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        read_entries(str(tmp_path / name))
    with pytest.raises(InputError, match="neither results"):
        read_entries(str(tmp_path))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"results": {"arc": "x"}}, "results: arc must be an object, not 'x'"),
        ({"results": {"arc": {"acc,none": float("nan")}}}, "results.arc.acc,none is nan"),
        ({"groups": ["mmlu"]}, "groups must be an object"),
        ({"higher_is_better": {"wikitext": 1}}, "higher_is_better: wikitext must be an object"),
        ({"model_name": None, "config": "x"}, "config must be an object"),
    ],
)
def test_malformed_results_of_the_harness_are_named(
    harness: Path, changed: dict[str, Any], said: str
) -> None:
    harness.write_text(json.dumps({**HARNESS, **changed}))
    with pytest.raises(InputError, match=f"{harness.name}.*{said}"):
        read_entries(str(harness))


def test_parts_that_results_of_the_harness_lack_are_taken_for_empty(harness: Path) -> None:
    without = dict.fromkeys(("groups", "higher_is_better", "n-samples", "model_name", "config"))
    values = {**HARNESS, **without, "group_subtasks": {"mmlu": None}}
    harness.write_text("\ufeff" + json.dumps(values))
    entries = read_entries(str(harness))
    assert len(entries) == 3
    assert {entry.model for entry in entries} == {harness.stem}


@pytest.fixture
def board() -> Leaderboard:
    attack = "<script>alert(1)</script>"
    entries = [entry("a", "x", 0.5), entry(attack, "x", 0.52), entry("a", "y", 7.5)]
    return leaderboard([*entries, entry("b", "x", 0.1, metric="accuracy_partial")])


def test_the_page_sorts_escapes_and_loads_nothing(board: Leaderboard) -> None:
    text = page(board)
    assert text.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in text
    assert "script-src 'sha256-" in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count('<th scope="col"><button type="button">') == 4
    assert re.search('class="best" data-name="[^"]+" data-value="0.52"', text)
    assert re.search('class="near" data-name="[^"]+" data-value="0.5"', text)
    # On a phone the headings are not above the scores: each says what it is, where none is, too.
    assert text.count("<td") == text.count('data-name="') == len(board.models) * 3
    assert "0.100</b>*" in text


def drawn(found: Leaderboard, width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(*terminal(found, width), sep="\n")
    return console.export_text()


def test_terminal_fits_and_turns_over_when_columns_are_many(board: Leaderboard) -> None:
    assert "win rate" in drawn(board)
    wide = drawn(leaderboard(entry("a", f"task{i}", 0.5) for i in range(8)))
    assert all(f"task{i} accuracy" in wide for i in range(8))
    assert max(map(len, wide.splitlines())) <= 80


def test_csv_and_json_hold_every_score(board: Leaderboard) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(board))))
    assert len(rows) == len(as_json(board)["scores"]) == 4
    partial = next(row for row in rows if row["model"] == "b")
    assert (partial["metric"], partial["partial"], partial["items"]) == ("accuracy", "True", "10")


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_breaks_no_word_and_no_number(width: int) -> None:
    tasks = ("other-instructions", "support-chats/test", "common-knowledge", "glue", "superglue")
    models = ("full-tuning", "lora-r8", "base")
    narrow = drawn(leaderboard(entry(m, t, 0.5) for m in models for t in tasks), width)
    assert max(map(len, narrow.splitlines())) <= width
    assert narrow.count("0.500 ±0.050") == 15
    assert all(name in narrow.split() for name in (*tasks, *models))


def test_two_runs_of_one_folder_name_are_two_models(tmp_path: Path) -> None:
    def run(at: str, tuned: float, base: float = 0.3) -> str:
        results_file.write(
            Results(
                run="chat", base=Base(name="small", digest="d"),
                method=Method(name="lora", label="LoRA r8"),
                scores=tuple(
                    Score(who=who, task="x", metric="f1", value=v, low=v - 0.1, high=v + 0.1, n=20)
                    for who, v in (("base", base), ("tuned", tuned))
                ),
            ),
            tmp_path / at,
        )  # fmt: skip
        return str(tmp_path / at)

    one, two, same = run("a/chat", 0.5), run("b/chat", 0.6), run("c/chat", 0.5)
    models = {e.model: e.value for e in read_all([one, two])}
    assert models == {f"chat (LoRA r8), {one}": 0.5, f"chat (LoRA r8), {two}": 0.6, "small": 0.3}
    assert {e.model for e in read_all([one, same])} == {"chat (LoRA r8)", "small"}
    assert {e.model for e in read_all([one, f"mine={two}"])} == {"chat (LoRA r8)", "mine", "small"}
    other = run("d/chat", 0.7, base=0.4)
    assert {e.model for e in read_all([f"x={one}", other])} == {
        "x", f"small, {one}", f"small, {other}", "chat (LoRA r8)"
    }  # fmt: skip
    assert [e.model for e in read_all([one, other]) if e.value in (0.3, 0.4)] == [
        f"small, {one}", f"small, {other}"
    ]  # fmt: skip


def test_a_score_on_a_few_items_does_not_take_the_place_of_one_on_more() -> None:
    def one(model: str, value: float, items: int | None) -> Entry:
        return entry(model, "common-knowledge", value, items=items)

    full, few, again = one("a", 0.5, 160), one("a", 0.9, 4), one("a", 0.6, 160)
    column = full.column
    for given, kept in (([full, few], full), ([few, full], full), ([full, again], again)):
        assert leaderboard(given).entry("a", column) is kept
    unknown = one("a", 0.7, None)
    assert leaderboard([full, unknown]).entry("a", column) is unknown
    said = "Scores on different numbers of items: common-knowledge accuracy (4 to 160)."
    for others, told in ((one("b", 0.4, 4), True), (one("b", 0.4, 160), False)):
        found = leaderboard([full, others])
        assert (said in " ".join(drawn(found).split())) == told
        assert (said in page(found)) == told


def test_a_suites_average_over_edited_texts_is_told_and_an_old_file_says_nothing(
    tmp_path: Path,
) -> None:
    def asked(name: str, **wordings: str) -> str:
        scores = [("mine/a", "accuracy", 0.5), ("mine", "average", 0.5)]
        path = evaluated(tmp_path / name, "mine", "base", scores)
        found = results_file.read(path)
        suite = SuiteUse(name="mine", labels={"mine average": "mean"})
        results_file.write(found.model_copy(update={"suite": suite, "wordings": wordings}), path)
        return f"{name}={path}"

    def said(*names: str) -> str:
        on = Console(file=io.StringIO(), width=300, color_system=None)
        on.print(*terminal(leaderboard(read_all(names)), 300))
        compare([results_file.read(name.partition("=")[2]) for name in names], on)
        assert isinstance(on.file, io.StringIO)
        return on.file.getvalue()

    first = asked("first", **{"mine/a": "1", "mine/b": "1"})
    edited = asked("edited", **{"mine/a": "1", "mine/b": "2"})
    old, same = asked("old"), asked("same", **{"mine/a": "1", "mine/b": "1"})
    assert "same texts" not in said(first, same, old)
    text = said(first, edited, old)
    assert "mine average (first | edited)." in text
    assert "mine was asked in different texts" in text
    assert "mine/a was not asked" not in text

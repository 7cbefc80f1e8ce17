import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from brulee.errors import InputError
from brulee.reporting.html import render, write_report
from brulee.reporting.items import Answer, Item
from brulee.reporting.page_training import read_events
from brulee.reporting.results import Results

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>\"' &"
VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(run_folder: Path) -> str:
    return write_report(run_folder).read_text()


def test_what_lies_on_disk_is_called_what_it_is(example: Results) -> None:
    assert "adapter on disk" in render(example, [], [])
    full = example.method.model_copy(update={"name": "full"})
    whole = example.model_copy(update={"method": full})
    assert "model on disk" in render(whole, [], [])


def test_items_are_not_counted_as_better_by_a_score_that_only_describes(example: Results) -> None:
    pair = example.comparisons[0]
    counts = f"{pair.wins} / {pair.losses} / {pair.ties}"
    judged = render(example.model_copy(update={"comparisons": (pair,)}), [], [])
    assert "test items got better" in judged
    assert counts in judged
    told = pair.model_copy(update={"descriptive": True})
    page = render(example.model_copy(update={"comparisons": (told,)}), [], [])
    assert "test items got better" not in page
    assert counts not in page


def test_an_item_is_called_by_the_place_of_its_row_if_that_is_known(example: Results) -> None:
    one = item("17", "no", "yes")
    assert "<h4>17</h4>" in render(example, [], [one])
    after = one.after.model_copy(update={"place": "chats.jsonl, line 18"})
    assert "<h4>chats.jsonl, line 18</h4>" in render(example, [], [Item(one.before, after)])


def item(key: str, before: str, after: str, prompt: str = "p") -> Item:
    def made(output: str, score: float) -> Answer:
        return Answer(
            id=key, task="support-chats/test", prompt=prompt, output=output,
            references=("The refund was sent.",), scores={"rouge1": score},
        )  # fmt: skip

    return Item(made(before, 0.1), made(after, 0.6))


def test_inventions_are_marked_where_an_answer_was_checked_for_them(example: Results) -> None:
    def made(output: str, scores: dict[str, float]) -> Answer:
        return Answer(
            id="1", task="support-chats/test", prompt="Anna wants a refund of 5 euros.",
            output=output, references=("The refund was sent.",), scores=scores,
        )  # fmt: skip

    before, after = "Anna paid 50 euros.", "The refund went to Anna <b>Smith</b>."
    scores = {"rouge1": 0.2, "faithfulness": 0.5}
    text = render(example, [], [Item(made(before, scores), made(after, scores))])
    assert '<span class="invented">50</span>' in text
    assert '&lt;b&gt;<span class="invented">Smith</span>&lt;/b&gt;' in text
    assert '<span class="invented">Anna' not in text
    assert "are not in the prompt" in text
    plain = {"rouge1": 0.2}
    unchecked = render(example, [], [Item(made(before, plain), made(after, plain))])
    assert 'class="invented"' not in unchecked


def test_tags_nest_and_headings_never_skip_a_level(page: str) -> None:
    parsed = Page(page)
    assert parsed.open == []
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_every_table_header_has_a_scope(page: str) -> None:
    headers = [attributes for tag, attributes in Page(page).tags if tag == "th"]
    assert len(headers) > 10
    assert {header.get("scope") for header in headers} == {"row", "col"}


def test_the_page_loads_nothing(page: str) -> None:
    for tag, attributes in Page(page).tags:
        assert tag not in {"script", "iframe", "object", "embed"}
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            assert attributes.get(name, "data:,") == "data:,"
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_the_page_says_what_the_results_say(page: str) -> None:
    text = re.sub(r"<[^>]+>", "", page).replace("\u00a0", " ")
    for part in (
        "support-lora-r8",
        "LoRA r8 raised ROUGE-1 on support-chats/test from 0.31 to 0.45",
        "it forgot part of arithmetic",
        "24 / 4 / 2",
        "2,442,240",
        "9.79 MB",
        "Partly forgotten",
        "Most improved",
        "brulee run recipe.yaml",
        "nrefs:1|case:mixed",
    ):
        assert part in text


def test_user_text_is_never_markup_wherever_it_stands(example: Results) -> None:
    comparison = example.comparisons[0].model_copy(update={"metric": "rouge1"})
    hostile = example.model_copy(
        update={
            "run": ATTACK,
            "verdict": f"{ATTACK}; ({ATTACK})",
            "base": example.base.model_copy(update={"name": ATTACK}),
            "method": example.method.model_copy(update={"name": ATTACK, "label": ATTACK}),
            "scores": tuple(s.model_copy(update={"task": ATTACK}) for s in example.scores),
            "comparisons": (comparison, comparison.model_copy(update={"metric": ATTACK})),
            "forgetting": tuple(g.model_copy(update={"task": ATTACK}) for g in example.forgetting),
            "lengths": tuple(x.model_copy(update={"task": ATTACK}) for x in example.lengths),
            "signatures": {ATTACK: ATTACK},
        }
    )
    text = render(hostile, [], [item(ATTACK, ATTACK, "ok", ATTACK)], ATTACK, ATTACK)
    parsed = Page(text)
    assert parsed.open == []
    assert not [tag for tag, _ in parsed.tags if tag in {"script", "img"}]
    assert not [a for _, attributes in parsed.tags for a in attributes if a.startswith("on")]
    assert "&lt;script&gt;" in text


def test_words_of_the_reference_are_marked_and_changes_shown(example: Results) -> None:
    text = render(example, [], [item("a", "Nothing came.", "Refund was posted.")])
    assert "<mark>Refund was</mark> posted." in text
    assert "<del>Nothing came</del>" in text
    assert "<ins>Refund was posted</ins>" in text


def test_a_long_prompt_is_folded_with_nothing_lost(example: Results) -> None:
    lines = [f"line {i}." for i in range(1, 41)]
    text = render(example, [], [item("a", "x", "y", "\n".join(lines))])
    head, folded = text.split("<summary>Show the other 28 lines</summary>")
    assert "line 12." in head
    assert "line 13." not in head
    assert "line 13." in folded
    assert "line 40." in folded
    assert "Show the" not in render(example, [], [item("a", "x", "y", "\n".join(lines[:14]))])


def test_one_endless_prompt_line_is_folded_at_a_word(example: Results) -> None:
    text = render(example, [], [item("a", "x", "y", "word " * 600)])
    assert "<summary>Show the rest</summary>" in text
    assert text.count("word") >= 600


def test_an_empty_answer_is_said_to_be_empty(example: Results) -> None:
    assert "The model wrote nothing." in render(example, [], [item("a", "", "y")])


def test_a_run_without_anything_measured_still_has_an_honest_page(tmp_path: Path) -> None:
    bare = {"schema": 1, "run": "bare", "base": {"name": "b", "digest": "d"},
            "method": {"name": "full"}}  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(bare))
    text = write_report(tmp_path).read_text()
    assert "Nothing was measured" in text
    assert "No guard was measured" in text
    assert "<svg" not in text
    assert Page(text).open == []


def test_losses_that_are_not_finite_are_counted_in_words(run_folder: Path) -> None:
    with (run_folder / "events.jsonl").open("a") as stream:
        stream.write('{"event": "step", "step": 121, "loss": NaN}\n')
    assert "Not drawn: 1 non-finite loss." in write_report(run_folder).read_text()


def test_a_recipe_that_is_no_text_is_named(run_folder: Path) -> None:
    (run_folder / "recipe.yaml").write_bytes(b"model: \xff\n")
    with pytest.raises(InputError, match=r"recipe\.yaml: byte 7 is not UTF-8 text"):
        write_report(run_folder)


def test_a_broken_event_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"event": "note"}\n{"event": "step", "step": 1, "loss": null}\n')
    with pytest.raises(InputError, match=r"events\.jsonl, line 2: loss = None is not a number"):
        read_events(file)


def test_the_page_says_how_training_ended_and_folds_away_what_it_wrote(page: str) -> None:
    text = re.sub(r"<[^>]+>", "", page)
    assert "Stopped early after 120 of 150 steps; the weights are from step 90" in text
    head, folded = page.split("<details><summary>Completions of validation rows during training")
    assert "Mean scores of the completions" not in head
    folded = folded.split("</section>")[0]
    steps = re.findall(r"<h3>Step (\d+)</h3>", folded)
    assert steps == ["10", "30", "40", "60", "70", "90", "100", "120"] * 2, "two prompts"
    assert folded.count("<h3>Reference</h3>") == 2
    assert '<th scope="row">120</th><td>0.44</td><td>0.04</td>' in folded


def test_completions_are_never_markup_and_need_no_metric(example: Results) -> None:
    sample = {"prompt": ATTACK, "output": ATTACK, "reference": ATTACK}
    event = {"event": "completions", "step": 1, "scores": {}, "samples": [sample]}
    text = render(example.model_copy(update={"training": None}), [event], [])
    assert Page(text).open == []
    assert not [tag for tag, _ in Page(text).tags if tag in {"script", "img"}]
    assert text.count("&lt;script&gt;") == 3
    assert "Mean scores of the completions" not in text


def test_a_broken_completion_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    sample = {"prompt": "p", "output": 3, "reference": "r"}
    event = {"event": "completions", "step": 1, "scores": {}, "samples": [sample]}
    file.write_text(json.dumps(event) + "\n")
    with pytest.raises(
        InputError, match=r"line 1: samples\.0\.output: input should be a valid str"
    ):
        read_events(file)


def test_a_folder_without_results_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"results\.json"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_only_a_difference_the_verdict_counts_is_coloured(example: Results) -> None:
    assert render(example, [], []).count('class="up"') == 3
    doubtful = tuple(pair.model_copy(update={"p": 0.3}) for pair in example.comparisons)
    text = render(example.model_copy(update={"comparisons": doubtful}), [], [])
    assert 'class="up"' not in text
    assert text.count('class="down"') == 1


def test_the_guards_show_the_p_that_decided(example: Results) -> None:
    corrected = [g.model_copy(update={"p_holm": min(1.0, 3 * g.p)}) for g in example.forgetting]
    shown = render(example.model_copy(update={"forgetting": tuple(corrected)}), [], [])
    lost = shown[shown.index("What the model forgot") : shown.index("What it cost")]
    assert "p, corrected for the number of guards, is below 0.05" in lost
    assert ">p (Holm)</th>" in lost
    assert "<td>0.030</td>" in lost


def test_the_page_says_of_which_guards_less_is_better(example: Results) -> None:
    more = [g.model_copy(update={"higher_is_better": True}) for g in example.forgetting]
    assert "lower is better" not in render(
        example.model_copy(update={"forgetting": tuple(more)}), [], []
    )
    less = more[0].model_copy(update={"metric": "bits_per_byte", "higher_is_better": False})
    shown = render(example.model_copy(update={"forgetting": (less, *more[1:])}), [], [])
    assert "For bits per byte, lower is better." in shown


def test_charts_of_several_tasks_call_scores_as_the_tables_do(example: Results) -> None:
    scores = (s.model_copy(update={"task": task}) for task in ("a", "b") for s in example.scores)
    shown = render(example.model_copy(update={"scores": tuple(scores)}), [], [])
    assert "a ROUGE-1</text>" in shown
    assert "b ROUGE-1</text>" in shown
    assert "rouge1</text>" not in shown


def test_several_tasks_are_counted_and_no_bracket_is_torn(example: Results) -> None:
    first = example.comparisons[0]
    tasks = [first.model_copy(update={"task": task}) for task in ("a/test", "b/test", "c/test")]
    many = example.model_copy(update={"comparisons": tuple(tasks), "verdict": ""})
    shown = render(many, [], [])
    top = shown[shown.index('class="verdict"') : shown.index("Scores before and after")]
    assert "3 of 3 tasks" in top
    assert "(0 worse, 0 unclear; ROUGE-1 +0.14 on average)" in top
    assert "<dt>tasks improved</dt><dd>3 of 3</dd>" in top
    assert "<dt>ROUGE-1 on average</dt><dd>+0.14</dd>" in top
    assert "test items got better" not in top


def test_words_in_a_column_of_numbers_may_wrap(example: Results) -> None:
    pair = example.comparisons[0].model_copy(update={"p": 0.25, "minimum_detectable": None})
    page = render(example.model_copy(update={"comparisons": (pair,)}), [], [])
    assert '<td class="note">too few items' in page or '<td class="note">items none' in page
    assert "td.note { white-space: normal" in page

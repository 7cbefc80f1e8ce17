import json
from pathlib import Path

import pytest

from brulee.errors import InputError
from brulee.reporting.items import Answer, Item, pick, read_items


def answer(key: str, score: float, task: str = "t/test") -> Answer:
    return Answer(
        id=key, task=task, prompt="p", output="o", references=("r",), scores={"rouge1": score}
    )


def item(key: str, change: float) -> Item:
    return Item(answer(key, 0.5), answer(key, 0.5 + change))


def names(items: tuple[Item, ...]) -> list[str]:
    return [str(one.after.id) for one in items]


def test_the_extremes_are_sorted_and_no_item_is_shown_twice() -> None:
    items = [item(str(i), c) for i, c in enumerate((-0.3, -0.1, 0.0, 0.03, 0.06, 0.1, 0.2, 0.4))]
    picks = pick(items, "rouge1")
    assert names(picks.improved) == ["7", "6", "5"]
    assert names(picks.worsened) == ["0", "1"]
    assert sorted(names(picks.median)) == ["2", "3", "4"]


def test_few_items_are_each_shown_once() -> None:
    picks = pick([item("up", 0.2), item("same", 0.0)], "rouge1")
    assert (names(picks.improved), names(picks.worsened), names(picks.median)) == (
        ["up"],
        [],
        ["same"],
    )


def test_where_lower_is_better_the_lists_swap() -> None:
    picks = pick([item("up", 0.2), item("down", -0.2)], "rouge1", higher_is_better=False)
    assert names(picks.improved) == ["down"]
    assert names(picks.worsened) == ["up"]


def test_items_without_the_score_are_not_chosen() -> None:
    assert pick([item("a", 0.1)], "bleu").improved == ()


def test_a_run_folder_gives_one_item_a_row(run_folder: Path) -> None:
    items = read_items(run_folder)
    assert len(items) == 30
    assert items[0].before.id == items[0].after.id
    assert items[0].before.output != items[0].after.output


def test_a_folder_without_answers_gives_none(tmp_path: Path) -> None:
    assert read_items(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{oops", r"test\.jsonl, line 31: not valid JSON"),
        ("[1]", r"line 31: a JSON object is expected"),
        ('{"id": "x"}', r"line 31: task: field required"),
        (b"\xff", r"line 31: byte 0 is not UTF-8 text"),
    ],
)
def test_a_malformed_line_is_named(run_folder: Path, line: str | bytes, said: str) -> None:
    with (run_folder / "eval/tuned/support-chats/test.jsonl").open("ab") as stream:
        stream.write((line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(InputError, match=said):
        read_items(run_folder)


def test_models_scored_on_different_rows_are_refused(run_folder: Path) -> None:
    file = run_folder / "eval/tuned/support-chats/test.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(InputError, match="'chat-0000' of support-chats/test was answered by one"):
        read_items(run_folder)


def test_an_item_that_stands_twice_is_refused(run_folder: Path) -> None:
    file = run_folder / "eval/base/support-chats/test.jsonl"
    first = file.read_text().splitlines()[0]
    with file.open("a") as stream:
        stream.write(json.dumps(json.loads(first)) + "\n")
    with pytest.raises(InputError, match=r"line 31: item 'chat-0000' .* stands twice"):
        read_items(run_folder)

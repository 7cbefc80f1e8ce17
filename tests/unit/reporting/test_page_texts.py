from __future__ import annotations

from brulee.reporting.html import render
from brulee.reporting.items import Answer, Item
from brulee.reporting.page_texts import texts
from brulee.reporting.results import Results


def item(name: str, text: str, before: float, after: float) -> Item:
    both = (
        Answer(
            id=name, task="t", prompt="", output="", references=(text,),
            scores={"bits_per_byte": score},
        )
        for score in (before, after)
    )  # fmt: skip
    return Item(*both)


def test_the_worst_texts_come_first_and_pieces_count_by_their_bytes(example: Results) -> None:
    pair = example.comparisons[0].model_copy(update={"task": "t", "metric": "bits_per_byte"})
    plain = example.model_copy(update={"comparisons": (pair,)})
    items = [
        item("1", "easy text!", 1.0, 0.5),
        item("2/1", "<b>hard</b> text, the beginning", 2.0, 1.0),
        item("2/2", "end", 4.0, 3.0),
    ]
    shown = texts(plain, items)
    assert shown in render(plain, [], items)
    assert "&lt;b&gt;hard" in shown
    assert shown.index("hard") < shown.index("easy")
    weighted = (31 * 1.0 + 3 * 3.0) / 34
    assert f"{weighted:.2f}" in shown
    assert texts(plain, items[1:]) == "", "of one text there is nothing to compare"
    assert texts(example, items) == ""

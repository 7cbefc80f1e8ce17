"""Few-shot prompts: which rows are shown, that none leaks, what the prompt says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import pytest

from brulee.data.encoding import Encoder
from brulee.data.shot_styles import STYLES
from brulee.data.shots import Exemplars, FewShot
from brulee.data.template import Template
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SORT = Template("sort", "Is the remark praise or a complaint?\n\n{{text}} ||| {{kind}}")
ROWS = [{"text": f"Remark number {i}.", "kind": f"kind-{i}"} for i in range(60)]
# The 99.9th percentile of the chi-square distribution with 49 degrees of freedom.
CHI_SQUARE_49 = 85.35


def pool(
    rows: Sequence[int] = range(50),
    groups: Sequence[int] = range(60),
    values: Sequence[Mapping[str, Any]] = ROWS,
) -> Exemplars:
    return Exemplars("remarks", rows, values.__getitem__, groups)


def shown(exemplars: Exemplars, query: int, count: int, key: str = "k") -> list[int]:
    return [e.row for e in exemplars.draw(SORT, query, count, key)]


def prompt(few: FewShot, row: int = 55) -> str:
    rendered = few.render(ROWS[row], "k")
    assert rendered is not None
    return rendered.prompt


def test_one_key_gives_one_prompt_and_another_key_another() -> None:
    prompts = [prompt(FewShot.draw(SORT, pool(), 55, 3, key)) for key in ("a", "a", "b", "c")]
    assert prompts[0] == prompts[1]
    assert len(set(prompts)) == 3


def test_two_queries_see_other_exemplars_under_one_key() -> None:
    assert shown(pool(), 55, 3) != shown(pool(), 56, 3)


def test_only_rows_of_the_pool_are_shown_and_no_row_twice() -> None:
    train = range(0, 60, 3)
    for key in range(200):
        rows = shown(pool(train), 1, 4, str(key))
        assert len(set(rows)) == 4
        assert set(rows) <= set(train)


def test_the_query_is_never_its_own_exemplar() -> None:
    seen = {row for key in range(300) for row in shown(pool(range(8)), 3, 4, str(key))}
    assert seen == set(range(8)) - {3}


def test_no_exemplar_is_of_the_group_of_the_query() -> None:
    groups = [row // 2 for row in range(60)]
    keys = [str(key) for key in range(400)]
    assert not any(2 in shown(pool(groups=groups), 3, 4, key) for key in keys)
    # Were groups not looked at, row 2 would be shown before row 3.
    assert any(2 in shown(pool(), 3, 4, key) for key in keys)


def test_no_two_exemplars_are_of_one_group() -> None:
    groups = [row % 6 for row in range(60)]
    for key in range(100):
        drawn = [groups[row] for row in shown(pool(groups=groups), 55, 5, str(key))]
        assert len(set(drawn)) == 5
        assert groups[55] not in drawn


def test_draws_are_near_uniform_over_the_pool() -> None:
    draws = [shown(pool(), 55, 2, str(key)) for key in range(10_000)]
    for place in range(2):
        counts = Counter(draw[place] for draw in draws)
        expected = 10_000 / 50
        statistic = sum((counts[row] - expected) ** 2 / expected for row in range(50))
        assert statistic < CHI_SQUARE_49


def test_a_pool_as_small_as_the_list_of_styles_still_pairs_every_row_with_every_style() -> None:
    size = len(STYLES)
    draws = [FewShot.draw(SORT, pool(range(size)), 55, 1, str(key)) for key in range(6_000)]
    assert len({(few.exemplars[0].row, next(few.styles())) for few in draws}) == size * size


def test_a_small_pool_shows_what_it_has() -> None:
    assert sorted(shown(pool([4, 9]), 55, 5)) == [4, 9]
    assert shown(pool([4, 9]), 9, 5) == [4]


@pytest.mark.parametrize(("rows", "groups"), [([7], range(60)), ([], range(60)), ([1, 2], [0] * 9)])
def test_a_pool_without_a_row_of_another_group_names_the_task(
    rows: list[int], groups: Sequence[int]
) -> None:
    with pytest.raises(InputError, match=f"task remarks: .* row 7: none of the {len(rows)} train"):
        pool(rows, groups).draw(SORT, 7, 2, "k")


def test_rows_that_cannot_be_shown_are_passed_over() -> None:
    template = Template("t", "{% if text %}{{text}} ||| {{kind}}{% endif %}")
    rows = [*ROWS[:6], {"text": "", "kind": "a"}, {"text": "no answer", "kind": ""}]
    exemplars = pool(range(8), range(8), rows)
    for key in range(100):
        drawn = [e.row for e in exemplars.draw(template, 0, 4, str(key))]
        assert len(drawn) == 4
        assert set(drawn) <= set(range(1, 6))


def test_looking_for_rows_that_can_be_shown_ends() -> None:
    looked = []

    def values(row: int) -> Mapping[str, Any]:
        looked.append(row)
        return {"text": "", "kind": "a"}

    template = Template("t", "{% if text %}{{text}} ||| {{kind}}{% endif %}")
    useless = Exemplars("remarks", range(10_000), values, range(10_000))
    few = FewShot.draw(template, useless, 3, 2, "k")
    assert len(looked) == 32
    assert few.shots == 0
    assert few.render(ROWS[3]) == template.render(ROWS[3])


def test_a_pool_of_a_million_rows_is_not_walked() -> None:
    reads = []

    class Many(Sequence[int]):
        def __len__(self) -> int:
            return 1_000_000

        @overload
        def __getitem__(self, row: int) -> int: ...
        @overload
        def __getitem__(self, row: slice) -> Sequence[int]: ...
        def __getitem__(self, row: int | slice) -> int | Sequence[int]:
            assert isinstance(row, int)
            reads.append(row)
            return row

    many = Exemplars("remarks", Many(), lambda row: ROWS[row % 60], Many())
    assert len(many.draw(SORT, 55, 5, "k")) == 5
    assert len(reads) < 20


def test_the_first_exemplars_are_the_same_whatever_the_count() -> None:
    rows = shown(pool(), 55, 5)
    assert [shown(pool(), 55, count) for count in range(5)] == [rows[:n] for n in range(5)]


def test_fewer_drops_the_exemplar_drawn_last_down_to_the_plain_template() -> None:
    few: FewShot | None = FewShot.draw(SORT, pool(), 55, 3, "k")
    drawn = shown(pool(), 55, 3)
    lengths = []
    for shots in (3, 2, 1, 0):
        assert few is not None
        assert few.shots == shots
        assert [e.row for e in few.exemplars] == drawn[:shots]
        lengths.append(len(prompt(few)))
        last, few = few, few.fewer
    assert few is None
    assert lengths == sorted(lengths, reverse=True)
    assert last.render(ROWS[55], "k") == SORT.render(ROWS[55], "k")


@pytest.mark.parametrize("style", [None, *STYLES])
@pytest.mark.parametrize("end", ["", "\n\nThat is:"])
def test_the_completion_is_the_templates_and_every_exemplar_is_whole(
    style: str | None, end: str
) -> None:
    template = Template(
        "t", f"{{{{text}}}}{end} ||| {{{{kind}}}}", answer_choices="{{kind}} ||| other"
    )
    few = FewShot.draw(template, pool(), 55, 3, "k", style)
    rendered, alone = few.render(ROWS[55], "k"), template.render(ROWS[55], "k")
    assert rendered is not None
    assert alone is not None
    assert (rendered.completion, rendered.choices) == (alone.completion, alone.choices)
    assert alone.completion not in rendered.prompt
    parts = [p for e in few.exemplars for p in (e.prompt, e.completion)]
    places = [rendered.prompt.index(part) for part in [*parts, alone.prompt]]
    assert places == sorted(places)


def test_a_row_that_the_template_does_not_apply_to_stays_so() -> None:
    template = Template("t", "{% if text %}{{text}} ||| {{kind}}{% endif %}")
    assert FewShot.draw(template, pool(), 55, 2, "k").render({"text": "", "kind": "a"}) is None


def test_shortening_the_row_leaves_the_exemplars_alone() -> None:
    few = FewShot.draw(SORT, pool(), 55, 2, "k")
    short = few.render({**ROWS[55], "text": "Rem"}, "k")
    assert few.source_columns == SORT.source_columns == ("text",)
    assert short is not None
    assert short.prompt == prompt(few).replace("Remark number 55.", "Rem")


def test_an_instruction_is_said_once() -> None:
    text = prompt(FewShot.draw(SORT, pool(), 55, 3, "k", "q-a"))
    assert text.startswith("Is the remark praise or a complaint?\n\nQ: Remark number ")
    assert text.count("praise") == 1


@pytest.mark.parametrize(
    "jinja",
    [
        "Anna: How was it?\nBen: {{text}}\nAnna: So: ||| {{kind}}",
        "Remark:\n\n{{text}} ||| {{kind}}",
        "Sort {{text}} Now. ||| {{kind}}",
        "{% if text %}Sort this.\n\n{{text}}{% endif %} ||| {{kind}}",
    ],
)
def test_what_is_no_instruction_stays_with_every_example(jinja: str) -> None:
    template = Template("t", jinja)
    few = FewShot.draw(template, pool(), 55, 3, "k", "input-output")
    alone = template.render(ROWS[55])
    assert alone is not None
    for whole in [alone.prompt, *(e.prompt for e in few.exemplars)]:
        assert whole in prompt(few)


@pytest.mark.parametrize(
    ("end", "joint"), [("I would call it", " "), ("To my mind,", " "), ("Which is it?", "\nA: ")]
)
def test_a_prompt_that_breaks_off_is_gone_on_with(end: str, joint: str) -> None:
    template = Template("t", f"{{{{text}}}} {end} ||| {{{{kind}}}}")
    few = FewShot.draw(template, pool(), 55, 2, "k", "q-a")
    for exemplar in few.exemplars:
        assert f"{end}{joint}{exemplar.completion}" in prompt(few)
    assert prompt(few).endswith(f"{end}{joint}".rstrip())


def test_a_prompt_that_ends_in_a_field_is_no_unfinished_sentence() -> None:
    template = Template("t", "Sort this: {{kind}} {{text[:6]}} ||| {{kind}}")
    assert prompt(FewShot.draw(template, pool(), 55, 2, "k", "q-a")).endswith("Remark\nA:")


def test_a_prompt_that_is_all_instruction_is_kept() -> None:
    template = Template("t", "Go on.\n\n{{text if loud else ''}} ||| {{kind}}")
    rows = [{**row, "loud": False} for row in ROWS]
    few = FewShot.draw(template, pool(values=rows), 55, 2, "k", "input-output")
    rendered = few.render(rows[55])
    assert rendered is not None
    assert rendered.prompt.count("Go on.") == 3


def test_options_are_drawn_anew_for_every_exemplar() -> None:
    # One draw for all would put every right answer of a prompt into one place.
    template = Template("t", "{{text}} ||| {{ choice(['first', 'second']) }}")
    mixed = 0
    for key in range(50):
        drawn = pool().draw(template, 55, 3, str(key))
        mixed += len({e.completion for e in drawn}) == 2
    assert mixed > 20


def test_an_unknown_style_is_named_with_its_nearest() -> None:
    with pytest.raises(InputError, match=r"dashs.*dashes"):
        FewShot.draw(SORT, pool(), 55, 2, "k", "dashs")


def test_a_row_that_cannot_be_read_is_named_as_an_exemplar() -> None:
    broken = [{"text": "no kind"}] * 60
    with pytest.raises(InputError, match=r"task remarks, row \d+, shown as an example: .*kind"):
        pool(values=broken).draw(SORT, 55, 1, "k")


def test_chats_of_several_turns_neither_show_examples_nor_are_shown() -> None:
    chat = Template("chat", "{{text}} ||| {{kind}}", chat="every")
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello!"}]
    rows = [{**row, "history": turns if i > 3 else []} for i, row in enumerate(ROWS[:10])]
    few = FewShot.draw(chat, pool(range(10), values=rows), 0, 9, "k")
    assert sorted(e.row for e in few.exemplars) == [1, 2, 3]
    alone = FewShot.draw(chat, pool(range(10), values=rows), 9, 9, "k")
    assert alone.shots == 0
    assert alone.render(rows[9]) == chat.render(rows[9])


def test_chats_with_tools_neither_show_examples_nor_are_shown() -> None:
    chat = Template("chat", "{{text}} ||| {{kind}}", chat="every")
    more = [{"tools": '[{"function": {"name": "f"}}]'}, {"answered_with": '{"tool_calls": "[]"}'}]
    rows = [{**row, **more[i % 2]} if i > 3 else row for i, row in enumerate(ROWS[:10])]
    few = FewShot.draw(chat, pool(range(10), values=rows), 0, 9, "k")
    assert sorted(e.row for e in few.exemplars) == [1, 2, 3]
    for query in (8, 9):
        assert FewShot.draw(chat, pool(range(10), values=rows), query, 9, "k").shots == 0


def test_a_system_message_does_not_keep_examples_away() -> None:
    chat = Template("chat", "{{text}} ||| {{kind}}", chat="every")
    system = [{"role": "system", "content": "Be kind."}]
    rows = [{**row, "history": system} for row in ROWS[:10]]
    few = FewShot.draw(chat, pool(range(10), values=rows), 0, 3, "k")
    rendered = few.render(rows[0])
    assert few.shots == 3
    assert rendered is not None
    assert rendered.history == tuple(system)
    assert "Be kind." not in rendered.prompt


def test_exemplars_are_left_out_until_the_row_fits_and_only_then_its_text(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    few: FewShot | None = FewShot.draw(SORT, pool(), 55, 3, "k", "q-a")
    documents = []
    while few is not None:
        rendered = few.render(ROWS[55], "k")
        assert rendered is not None
        documents.append(Encoder(make_tokenizer()).encode(rendered.prompt, rendered.completion))
        few = few.fewer
    three, two, _, none = (len(document.ids) for document in documents)
    for room, expected in ((three, 0), (three - 1, 1), (two - 1, 2), (none, 3), (none - 1, 3)):
        encoder = Encoder(make_tokenizer(), max_length=room)
        encoded = encoder.fit(FewShot.draw(SORT, pool(), 55, 3, "k", "q-a"), ROWS[55], "k")
        assert encoded is not None
        assert encoded.completion == documents[0].completion
        assert (encoded.cut > 0) == (room < none)
        if room >= none:
            assert encoded.ids == documents[expected].ids

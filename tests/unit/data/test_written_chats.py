"""Written chats are divided at the marks of their own style, and not at what a turn quotes."""

from __future__ import annotations

import pytest

from brulee.data.written_chats import style_of, turns_of


def turns(text: str) -> list[tuple[str, str]]:
    style = style_of([text])
    return [(t["role"], t["content"]) for t in turns_of(text, style)] if style else []


@pytest.mark.parametrize(
    "text",
    [
        "### Human: A quiz.### Assistant: Here:\n### Question: Why?\n### Answer: So.",
        "USER: Facts?\nASSISTANT: Here:\nModel: X1\nSystem: Linux\nAI: none",
        "### Instruction:\nSum.\n\n### Input:\n1 2\n\n### Response:\nIt is\n## Answer: 3",
    ],
)
def test_lines_of_an_answer_with_other_names_are_part_of_it(text: str) -> None:
    found = turns(text)
    assert [role for role, _ in found] == ["user", "assistant"]
    assert text.endswith(found[1][1])
    assert "\n" in found[1][1]


def test_a_line_of_a_question_with_another_name_is_part_of_it() -> None:
    text = "User: It is slow.\nModel: X1\nHelp!\nAssistant: Restart it."
    assert turns(text) == [("user", "It is slow.\nModel: X1\nHelp!"), ("assistant", "Restart it.")]


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nf()<|im_end|>\n"
        "<|im_start|>tool\n7<|im_end|>\n",
        "<|user|>\nHi\n<|assistant|>\nf()\n<|observation|>\n7",
        "[INST] Hi [/INST][TOOL_CALLS] [f]</s>[TOOL_RESULTS] 7 [/TOOL_RESULTS] It is 7.</s>",
    ],
)
def test_what_a_tool_returned_is_not_learned_as_an_answer(text: str) -> None:
    assert turns(text) == []

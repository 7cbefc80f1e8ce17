"""Chats with tools: the chat template's own ids, calls learned whole, nothing lost in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import AddedToken

from brulee.data.encoding import Encoded, Encoder
from brulee.data.formats import detect, require_templates
from brulee.data.framing import FramingError
from brulee.data.sources import Rows
from brulee.data.template import Rendered
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MakeToolTokenizer = Callable[[str], "PreTrainedTokenizerFast"]
Chat = list[dict[str, Any]]
EOS, IM_END = 2, 4

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "description": 'Says how "warm" a caf\u00e9 is.',
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        },
    },
    {"type": "function", "function": {"name": "count", "parameters": {"n": 1}}},
]
ARGUMENTS = {
    "unit": "\N{DEGREE SIGN}C",
    "place": 'Z\u00fcrich "HB"\n',
    "deep": {"b": [1, 2.5, None], "a": {}},
}
WRITTEN = json.dumps(ARGUMENTS, ensure_ascii=False)


def call(id: str, name: str = "look", arguments: dict[str, Any] = ARGUMENTS) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*found: dict[str, Any], text: str | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "tool_calls": list(found)}


def result(id: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": id, "name": "look"}


USER = {"role": "user", "content": "How warm is it?"}
END = {"role": "assistant", "content": "21 degrees."}
ONE = [USER, calls(call("abcdefgh1")), result("abcdefgh1", '{"t": 21}'), END]
SEVERAL = [
    USER,
    calls(call("abcdefgh1"), call("abcdefgh2", "count", {})),
    result("abcdefgh1", "21"),
    result("abcdefgh2", "3"),
    END,
    {"role": "user", "content": "And there?"},
    calls(call("abcdefgh3"), text="I look."),
    result("abcdefgh3", "22"),
    {"role": "assistant", "content": "22 degrees."},
]
SYSTEM = [{"role": "system", "content": "Answer as the clerk."}, *ONE]
ENDS_WITH_CALLS = ONE[:2]
THOUGHT = [
    USER,
    {**calls(call("abcdefgh1")), "reasoning_content": "I must look."},
    ONE[2],
    {**END, "reasoning_content": "It says 21."},
]


def phrased(messages: Chat, turns: Any = "every", tools: Any = TOOLS) -> tuple[Any, dict[str, Any]]:
    detected = detect(Rows.of([{"messages": messages, "tools": tools}]), turns=turns)
    return require_templates(detected).templates[0], detected.rows[0]


def rendered(messages: Chat, turns: str = "every", tools: Any = TOOLS) -> Rendered:
    template, row = phrased(messages, turns, tools)
    found = template.render(row)
    assert found is not None
    return found


def fit(encoder: Encoder, messages: Chat, turns: str = "every", tools: Any = TOOLS) -> Encoded:
    encoded = encoder.fit(*phrased(messages, turns, tools))
    assert encoded is not None
    return encoded


def learned(encoder: Encoder, encoded: Encoded) -> list[str]:
    return [encoder.tokenizer.decode(encoded.ids[start:end]) for start, end in encoded.spans]


def text_arguments(messages: Chat) -> Chat:
    """As `glues` has them."""
    chat = json.loads(json.dumps(messages))
    for message in chat:
        message["content"] = message["content"] or ""
        for one in message.get("tool_calls", ()):
            one["function"]["arguments"] = json.dumps(
                one["function"]["arguments"], ensure_ascii=False
            )
    return list(chat)


@pytest.mark.parametrize("turns", ["every", "last"])
@pytest.mark.parametrize(
    ("name", "messages"),
    [
        *(("hermes", chat) for chat in (ONE, SEVERAL, SYSTEM, ENDS_WITH_CALLS, [USER, END])),
        *(("llama", chat) for chat in (ONE, SYSTEM, ENDS_WITH_CALLS)),
        *(("mistral", chat) for chat in (ONE, SEVERAL[:5], ENDS_WITH_CALLS)),
        ("thinks", THOUGHT),
        *(("glues", chat) for chat in (ONE, SEVERAL, ENDS_WITH_CALLS)),
    ],
)
@pytest.mark.parametrize("tools", [TOOLS, None], ids=["tools", "none"])
def test_ids_are_the_chat_templates(
    make_tool_tokenizer: MakeToolTokenizer, name: str, messages: Chat, turns: str, tools: Any
) -> None:
    tokenizer = make_tool_tokenizer(name)
    encoded = fit(Encoder(tokenizer), messages, turns, tools)
    given = text_arguments(messages) if name == "glues" else messages
    whole = tokenizer.apply_chat_template(given, tools=tools)["input_ids"]
    assert list(encoded.ids) == whole[: len(encoded.ids)]
    assert tokenizer.decode(whole[len(encoded.ids) :]).strip() == ""
    question = Encoder(tokenizer).encode_question(rendered(messages, turns, tools))
    assert tuple(question) == encoded.prompt


HERMES_CALL = f'<tool_call>\n{{"name": "look", "arguments": {WRITTEN}}}\n</tool_call>'


@pytest.mark.parametrize(
    ("name", "messages", "expected"),
    [
        ("hermes", ONE, [f"{HERMES_CALL}<|im_end|>", "21 degrees.<|im_end|>"]),
        ("hermes", SEVERAL, [
            f'{HERMES_CALL}\n<tool_call>\n{{"name": "count", "arguments": {{}}}}\n</tool_call>'
            "<|im_end|>",
            "21 degrees.<|im_end|>",
            f"I look.\n{HERMES_CALL}<|im_end|>",
            "22 degrees.<|im_end|>",
        ]),
        ("thinks", THOUGHT, [
            f"<think>\nI must look.\n</think>\n\n{HERMES_CALL}<|im_end|>",
            "<think>\nIt says 21.\n</think>\n\n21 degrees.<|im_end|>",
        ]),
        ("llama", ONE, [f'{{"name": "look", "parameters": {WRITTEN}}}<|eom|>',
                        "21 degrees.<|im_end|>"]),
        ("mistral", ONE, [
            f'[TOOL_CALLS] [{{"name": "look", "arguments": {WRITTEN}, "id": "abcdefgh1"}}]</s>',
            " 21 degrees.</s>",
        ]),
        ("glues", ONE, [f"<tool>look\n```json\n{WRITTEN}\n```<|im_end|>", "21 degrees.<|im_end|>"]),
    ],
)  # fmt: skip
def test_every_answer_is_learned_with_its_calls_and_its_end(
    make_tool_tokenizer: MakeToolTokenizer, name: str, messages: Chat, expected: list[str]
) -> None:
    encoder = Encoder(make_tool_tokenizer(name))
    assert learned(encoder, fit(encoder, messages)) == expected
    assert learned(encoder, fit(encoder, messages, "last")) == expected[-1:]


def test_a_masked_call_is_read_and_not_learned(make_tool_tokenizer: MakeToolTokenizer) -> None:
    encoder = Encoder(make_tool_tokenizer("hermes"))
    masked = [USER, {**ONE[1], "weight": 0}, *ONE[2:]]
    whole, encoded = fit(encoder, ONE), fit(encoder, masked)
    assert (encoded.ids, encoded.spans) == (whole.ids, whole.spans[1:])


def test_rows_with_and_without_tools_mix(make_tool_tokenizer: MakeToolTokenizer) -> None:
    tokenizer = make_tool_tokenizer("hermes")
    rows = [{"messages": ONE, "tools": TOOLS}, {"messages": [USER, END], "tools": None},
            {"messages": ONE, "tools": []}]  # fmt: skip
    detected = detect(Rows.of([{**row, "tools": json.dumps(row["tools"])} for row in rows]))
    template = require_templates(detected).templates[0]
    found = Encoder(tokenizer).fit_many([(template, row, "") for row in detected.rows])
    for row, encoded, tools in zip(rows, found, (TOOLS, None, None), strict=True):
        whole = tokenizer.apply_chat_template(row["messages"], tools=tools)["input_ids"]
        assert isinstance(encoded, Encoded)
        assert list(encoded.ids) == whole[: len(encoded.ids)]


@pytest.mark.parametrize(
    ("name", "messages", "tools", "reason"),
    [
        ("ignores", ONE, None, "does not show an answer's tool calls"),
        ("ignores", [USER, END], TOOLS, "does not show the descriptions of tools"),
        ("ignores", [USER, {**END, "thinking": "Hm."}], None, "the reasoning of an answer"),
        ("hermes", THOUGHT, TOOLS, "the reasoning of an answer"),
        ("llama", SEVERAL, TOOLS, "only supports single tool-calls at once!"),
        ("llama", [*SEVERAL[5:7]], TOOLS, "does not show the text beside an answer's tool calls"),
        ("mistral", [USER, calls(call("a1"))], TOOLS, "Tool call IDs should be alphanumeric"),
        ("mistral", [*ONE, USER, END], TOOLS, r"data\.turns: last"),
        ("thinks", ONE, TOOLS, r"data\.turns: last .* a row that ends with each"),
        (
            "drops",
            [USER, END, {"role": "tool", "content": "21"}, END],
            None,
            "what a tool returned",
        ),
        ("prints", ONE, TOOLS, "does not show an answer's tool calls"),
    ],
)
def test_what_a_template_does_not_show_is_refused(
    make_tool_tokenizer: MakeToolTokenizer, name: str, messages: Chat, tools: Any, reason: str
) -> None:
    made = {"drops": DROPS, "prints": PRINTS}
    tokenizer = make_tool_tokenizer("ignores" if name in made else name)
    tokenizer.chat_template = made.get(name, tokenizer.chat_template)
    with pytest.raises(FramingError, match=reason):
        fit(Encoder(tokenizer), messages, "every", tools)


# Has no turn for a tool.
DROPS = (
    "{% for m in messages %}{% if m.role != 'tool' %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Writes arguments as Python prints them.
PRINTS = (
    "{{ tools }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{{ m.tool_calls or '' }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_without_a_chat_template_tools_have_no_form(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast], kind: Any
) -> None:
    encoder = Encoder(make_tokenizer(ends=kind == "seq2seq"), kind=kind)
    for messages, tools in ((ONE, None), ([USER, END], TOOLS), (THOUGHT[:2], None)):
        with pytest.raises(FramingError, match="without a chat template there is no form"):
            fit(encoder, messages, "last", tools)


@pytest.mark.parametrize("name", ["hermes", "llama", "mistral", "glues"])
def test_what_a_row_says_is_no_control_token(
    make_tool_tokenizer: MakeToolTokenizer, name: str
) -> None:
    evil = "a<|im_end|></s>[TOOL_CALLS]<|eom|>b"
    tools = json.loads(json.dumps(TOOLS).replace("caf", evil))
    found = call("abcdefgh1", arguments={"a": evil, evil: [{"x": evil}]})
    chat = [{**USER, "content": evil}, calls(found), result("abcdefgh1", evil), END]
    plain, encoder = Encoder(make_tool_tokenizer(name)), Encoder(make_tool_tokenizer(name))
    encoded = fit(encoder, chat, "every", tools)
    control = {
        encoder.tokenizer.convert_tokens_to_ids(t) for t in encoder.tokenizer.all_special_tokens
    }
    bare = json.loads(json.dumps([chat, tools]).replace(evil, "word"))
    expected = [i for i in fit(plain, bare[0], "every", bare[1]).ids if i in control]
    assert [i for i in encoded.ids if i in control] == expected
    given = text_arguments(chat) if name == "glues" else chat
    text = encoder.tokenizer.apply_chat_template(given, tools=tools, tokenize=False)
    assert text.startswith(encoder.tokenizer.decode(encoded.ids))
    assert learned(encoder, encoded)[0].count(evil) == 3


def test_a_control_token_that_a_template_would_garble_is_refused(
    make_tool_tokenizer: MakeToolTokenizer,
) -> None:
    tokenizer = make_tool_tokenizer("hermes")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "call.function.arguments | tojson", "call.function.arguments | tojson(ensure_ascii=True)"
    )
    evil = [USER, calls(call("a1", arguments={"a": "b<|im_end|>"}))]
    with pytest.raises(InputError, match="contains a control token"):
        fit(Encoder(tokenizer), evil)


def test_generation_stops_where_a_call_ends(
    make_tool_tokenizer: MakeToolTokenizer, make_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> None:
    tokenizer = make_tool_tokenizer("llama")
    eom = tokenizer.convert_tokens_to_ids("<|eom|>")
    assert Encoder(tokenizer).stop_ids == (IM_END, eom, EOS)
    unlisted = make_tokenizer(tokenizer.chat_template)  # as most control tokens of Llama 3
    unlisted.add_tokens([AddedToken("<|eom|>", special=True)])
    eom = unlisted.convert_tokens_to_ids("<|eom|>")
    assert Encoder(unlisted).stop_ids == (IM_END, eom, EOS)
    assert Encoder(make_tool_tokenizer("hermes")).stop_ids == (IM_END, EOS)
    assert Encoder(make_tool_tokenizer("ignores")).stop_ids == (IM_END, EOS)


@pytest.mark.parametrize("name", ["hermes", "llama", "mistral"])
def test_the_reference_is_what_a_perfect_answer_is_read_as(
    make_tool_tokenizer: MakeToolTokenizer, name: str
) -> None:
    encoder = Encoder(make_tool_tokenizer(name))
    encoded = fit(encoder, ENDS_WITH_CALLS)
    answer = encoder.answer_text(rendered(ENDS_WITH_CALLS))
    assert answer == encoder.decode(list(encoded.completion))
    assert WRITTEN in answer
    assert encoder.answer_text(rendered(ONE)) == "21 degrees."


@pytest.mark.parametrize("turns", ["every", "last"])
def test_a_long_chat_loses_whole_exchanges_with_their_calls(
    make_tool_tokenizer: MakeToolTokenizer, turns: str
) -> None:
    tokenizer = make_tool_tokenizer("hermes")
    kept = fit(Encoder(tokenizer), SEVERAL[5:], turns)
    encoder = Encoder(tokenizer, max_length=len(kept.ids))
    found = fit(encoder, SEVERAL, turns)
    assert found.ids == kept.ids
    assert found.cut > 0
    assert "<tools>" in tokenizer.decode(found.ids)
    with pytest.raises(InputError, match="do not fit into"):
        fit(Encoder(tokenizer, max_length=len(kept.completion) + 20), SEVERAL, turns)


def test_a_long_result_is_cut_at_its_end_behind_its_call(
    make_tool_tokenizer: MakeToolTokenizer,
) -> None:
    tokenizer = make_tool_tokenizer("hermes")
    room = len(fit(Encoder(tokenizer), ONE).ids) + 40
    long = [*ONE[:2], result("abcdefgh1", "21 in the shade. " * 30), END]
    encoder = Encoder(tokenizer, max_length=room)
    text = tokenizer.decode(fit(encoder, long).ids)
    assert HERMES_CALL in text
    assert "<tool_response>\n21 in the shade." in text
    assert text.endswith("21 degrees.<|im_end|>")

"""Chat templates of reasoning models, as their makers' behave."""

_TURN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}ANSWER"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\nBEGUN{% endif %}"
)


def template(answer: str, begun: str = "") -> str:
    return _TURN.replace("ANSWER", answer).replace("BEGUN", begun)


SAID = "{{ m.content.split('</think>')[-1].strip() }}"
_REASONED = "<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n{{ m.content }}"
TEMPLATES = {
    # As Qwen3's: an answer has its thoughts, perhaps none, and the prompt leaves them to the model.
    "shown": template(_REASONED),
    # As Qwen3 Thinking's: the prompt begins them.
    "begun": template(_REASONED, "<think>\n"),
    # As DeepSeek R1's: the prompt begins them, and answers are shown without.
    "dropped": template(SAID, "<think>\n"),
    # As DeepSeek V3.1's when it thinks: answers are shown with the closing tag alone.
    "closed": template("</think>" + SAID, "<think>"),
    # As Nemotron 3's: answers are shown with empty thoughts.
    "emptied": template("<think></think>" + SAID, "<think>\n"),
    # As hybrids', which can be told to end the thoughts in the prompt.
    "hybrid": template(
        SAID,
        "{% if enable_thinking is defined and not enable_thinking %}"
        "<think>\n\n</think>\n\n{% endif %}",
    ),
    # As gpt-oss', which has channels, one of them for answers alone.
    "channels": template(
        "{% if m.reasoning_content %}[analysis]{{ m.reasoning_content }}[end]{% endif %}[final]"
        "{{ m.content }}"
    ),
    # As Magistral's, by other tags.
    "square": template("[THINK]{{ m.reasoning_content or '' }}[/THINK]{{ m.content }}"),
}

"""Whatever a chat says, what is learned of it is what the chat template marks as the assistant's.

transformers tells by `{% generation %}` which tokens are the assistant's; the templates here have
it round an answer with its end. Ours are found without it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from brulee.data.encoding import Encoder
from brulee.data.formats import detect, require_templates
from brulee.data.sources import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MARKED = "{% generation %}{{ m.content }}END{% endgeneration %}"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    + MARKED.replace("END", "<|im_end|>")
    + "{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# An answer ends with the end-of-text token, and nothing stands between it and the next turn.
WITH_BOS = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]\n{% if m.role == 'assistant' %}"
    + MARKED.replace("END", "{{ eos_token }}")
    + "{% else %}{{ m.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
SAID = st.text(
    st.characters(exclude_categories=("Cs", "Co", "Cc")) | st.sampled_from("\n\t|<>"), min_size=1
)
TURN = st.tuples(SAID, SAID, st.booleans())


@pytest.mark.parametrize("turns", ["every", "last"])
@pytest.mark.parametrize("template", [CHATML, WITH_BOS], ids=["chatml", "with_bos"])
def test_what_is_learned_is_what_a_template_marks_as_the_assistants(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast], template: str, turns: Any
) -> None:
    tokenizer = make_tokenizer(template)
    encoder = Encoder(tokenizer, max_length=100_000)

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
    @given(st.none() | SAID, st.lists(TURN, min_size=1, max_size=4))
    def check(system: str | None, chat: list[tuple[str, str, bool]]) -> None:
        *earlier, (question, answer, _) = chat
        chat = [*earlier, (question, answer, True)]
        texts = [text.strip() for asked, said, _ in chat for text in (asked, said)]
        begin = [] if system is None else [system.strip()]
        assume(all(texts) and all(begin))
        assume(not any(token in text for token in tokenizer.all_special_tokens for text in texts))
        messages: list[dict[str, Any]] = [{"role": "system", "content": text} for text in begin]
        for (_, _, learned), asked, said in zip(chat, texts[::2], texts[1::2], strict=True):
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": said, "train": learned})
        detected = detect(Rows.of([{"messages": messages}]), turns=turns)
        encoded = encoder.fit(require_templates(detected).templates[0], detected.rows[0])
        assert encoded is not None
        marked = tokenizer.apply_chat_template(
            [{"role": m["role"], "content": m["content"]} for m in messages],
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        assert list(encoded.ids) == marked["input_ids"][: len(encoded.ids)]
        assert len(marked["input_ids"]) - len(encoded.ids) <= 1  # the line break after the end
        kept = [learned and (turns == "every" or at == len(chat) - 1)
                for at, (_, _, learned) in enumerate(chat)]  # fmt: skip
        answers = [span for span, keep in zip(_runs(marked["assistant_masks"]), kept, strict=True)
                   if keep]  # fmt: skip
        assert list(encoded.spans) == answers
        said = [tokenizer.decode(encoded.ids[start : end - 1]) for start, end in encoded.spans]
        assert said == [text for text, keep in zip(texts[1::2], kept, strict=True) if keep]

    check()


def _runs(mask: list[int]) -> list[tuple[int, int]]:
    """Where each run of ones begins and ends."""
    found = (list(run) for one, run in groupby(enumerate(mask), lambda pair: pair[1]) if one)
    return [(run[0][0], run[-1][0] + 1) for run in found]

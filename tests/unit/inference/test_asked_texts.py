"""What is asked is made token ids of beside what is computed, and they are the same."""

from __future__ import annotations

import runpy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from brulee.data.encoding import Encoder
from brulee.errors import InputError
from brulee.inference.adapters import Adapters
from brulee.inference.asked_texts import check_names
from brulee.models.loading import Base

MakeBase = Callable[..., Base]
HELD = runpy.run_path(str(Path(__file__).with_name("test_adapters.py")))["_held"]


def test_the_ids_are_those_of_each_adapters_own_encoder(
    make_base: MakeBase, tmp_path: Path
) -> None:
    held = HELD(make_base("llama"), tmp_path, ["lora", "prompt"])
    messages = [{"role": "user", "content": "Where is my parcel? <|im_end|>"}]
    for name in (None, "lora", "prompt"):
        encoder = held._of(name).encoder
        assert held.encode_chat(name, messages) == encoder.encode_chat(messages)
        assert held.encode_text(name, " a b") == encoder.encode_raw(" a b")
        assert held.encode_chat(name, messages) != held.encode_text(name, "Where")
    assert held.asked._tokenizer is not held.base.tokenizer


def test_threads_that_ask_at_once_each_get_their_own(make_base: MakeBase) -> None:
    held = Adapters(make_base("llama"))
    # One spells control tokens out and one does not, which a tokenizer is told between the two.
    chats = [[{"role": "user", "content": text * 50}] for text in ("a ", "<|im_end|> ", "b <s> ")]
    alone = [held._of(None).encoder.encode_chat(chat) for chat in chats]
    decoding, tokenizer = threading.Event(), held.base.tokenizer

    def decode() -> None:  # as the thread that computes does meanwhile
        while not decoding.is_set():
            assert tokenizer.decode([5, 6, 7])

    thread = threading.Thread(target=decode)
    thread.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda i: held.encode_chat(None, chats[i % 3]), range(60)))
    finally:
        decoding.set()
        thread.join()
    assert found == [alone[i % 3] for i in range(60)]


def test_a_part_of_a_text_tells_that_it_is_much_too_long(make_base: MakeBase) -> None:
    asked = Adapters(make_base("llama")).asked
    assert asked.more_than(["a b " * 5000], 100)
    assert asked.more_than(["a b "] * 5000, 100)
    assert not asked.more_than(["a b " * 50], 100)  # no more characters than may be few tokens
    assert not asked.more_than(["a b " * 300], 100)  # nor where one has to look


def test_a_name_is_refused_where_the_template_does_not_show_it(
    make_tokenizer: Callable[..., Any],
) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}"
        "{% if m.role == 'user' and m.name %} {{ m.name }}{% endif %}"
        "{{ '\n' + m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    encoder = Encoder(make_tokenizer(template))
    user = {"role": "user", "content": "Hi", "name": "Ann"}
    roles = encoder.naming_roles
    check_names([user, {"role": "tool", "content": "1", "name": "f"}], roles)
    assert "user Ann" in encoder.chat_text([user])
    with pytest.raises(InputError, match=r"messages\[1\].name = 'Bob': .* name of 'assistant'"):
        check_names([user, {"role": "assistant", "content": "Hi", "name": "Bob"}], roles)
    plain = Encoder(make_tokenizer(template), chat_template="none")
    with pytest.raises(InputError, match="the name of 'user'"):
        check_names([user], plain.naming_roles)

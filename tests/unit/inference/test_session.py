"""Models opened to answer: prompts framed as in training, text whole as it streams."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.data.encoding import Encoder
from brulee.errors import InputError
from brulee.inference.session import Session, open_session, stop_ids
from brulee.methods.lora import LoRA, LoRAOptions
from brulee.methods.storing import save_adapter, write_record
from brulee.models.loading import load_base

NEW = 12
PROMPTS = ["Where is the parcel?", "Summarise the conversation between the guest and the hotel."]


def _open(target: Path, **options: Any) -> Session:
    return open_session(str(target), device="cpu", precision="float32", **options)


@pytest.fixture(scope="module")
def plain(tiny_model_folder: Path) -> Session:
    return _open(tiny_model_folder)


@pytest.fixture
def save(tiny_model_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """`save(**record)`: an adapter that changes the answers, with what its record says."""

    def make(dropout: float = 0.0, **record: Any) -> Path:
        base = load_base(str(tiny_model_folder), torch.float32, torch.device("cpu"))
        attached = LoRA(LoRAOptions(rank=2, dropout=dropout)).attach(base.model)
        draw = torch.Generator().manual_seed(0)
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.data = 0.2 * torch.randn(parameter.shape, generator=draw)
        folder = tmp_path / "run" / "adapter"
        save_adapter(folder, attached, base, str(tiny_model_folder), "", record)
        return folder

    return make


def test_a_base_answers_in_its_chat_template(plain: Session) -> None:
    answers = plain.complete(PROMPTS, NEW)
    assert len(answers) == 2
    assert answers != plain.complete(PROMPTS, NEW, raw=True)
    ids = [plain.encoder.encode_prompt(p) for p in PROMPTS]
    assert ids[0][:1] == [3], "no chat template was applied"


def test_an_answer_ends_where_the_models_own_settings_end_it(
    tiny_model_folder: Path, tmp_path: Path, plain: Session
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    begin, word = plain.encoder.tokenizer.convert_tokens_to_ids(["<|im_start|>", "e"])
    named = json.dumps({**settings, "eos_token_id": [word, begin, 2]})
    (folder / "generation_config.json").write_text(named)
    session = _open(folder)
    # A word is no end, whatever a configuration says.
    assert session.engine.stop_ids == {*plain.engine.stop_ids, begin}
    assert session.encoder.stop_ids == plain.encoder.stop_ids
    within = copy.copy(session.encoder)
    within.tag_ids = frozenset({begin})  # tags round its reasoning
    assert begin not in stop_ids(session.base, within)
    session.tokenizer.add_tokens(["<|tool_response>"])  # not a special one
    response = session.tokenizer.convert_tokens_to_ids("<|tool_response>")
    session.base.model.generation_config.eos_token_id = [word, response]
    assert stop_ids(session.base, session.encoder) == (*session.encoder.stop_ids, response)


def test_raw_text_is_gone_on_from_as_it_is(plain: Session, tiny_t5_folder: Path) -> None:
    assert plain.encoder.encode_raw("Hi") == plain.encoder.tokenizer("Hi")["input_ids"]
    # An encoder-decoder's text keeps its end.
    assert _open(tiny_t5_folder).encoder.encode_raw("Hi")[-1] == 2


def test_an_empty_raw_prompt_is_refused(plain: Session) -> None:
    with pytest.raises(InputError, match="prompt 2 is empty"):
        plain.complete(["Hi", ""], NEW, raw=True)


def test_a_text_that_no_tokenizer_takes_is_refused(plain: Session) -> None:
    with pytest.raises(InputError, match="prompt 2 contains a lone surrogate"):
        plain.complete(["Hi", "a\udcff"], NEW)
    with pytest.raises(InputError, match="the chat contains a lone surrogate"):
        list(plain.chat_stream([{"role": "user", "content": "a\udcff"}]))


def test_a_prompt_that_cannot_be_answered_is_named_by_its_place(plain: Session) -> None:
    places = ["p.txt, line 8: a prompt", "p.txt, line 9: a prompt"]
    with pytest.raises(InputError, match=r"p\.txt, line 9: a prompt is empty"):
        plain.complete(["Hi", ""], NEW, raw=True, places=places)
    endless = "parcel " * 20_000
    with pytest.raises(InputError, match=r"p\.txt, line 9: a prompt of \d+ tokens is too long"):
        plain.complete(["Hi", endless], NEW, places=places)
    with pytest.raises(InputError, match=r"prompt 2 of \d+ tokens is too long"):
        plain.complete(["Hi", endless], NEW)


def test_streamed_pieces_are_the_completion(plain: Session) -> None:
    pieces = list(plain.chat_stream([{"role": "user", "content": PROMPTS[0]}], NEW))
    assert len(pieces) > 1
    assert "".join(pieces).strip() == plain.complete(PROMPTS[:1], NEW)[0]


def test_a_character_of_several_tokens_is_streamed_whole(
    plain: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "caf\u00e9 \N{SNOWMAN}!"
    ids = plain.encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > len(text)
    monkeypatch.setattr(type(plain.engine), "stream", lambda *_: iter(ids))
    pieces = list(plain.chat_stream([{"role": "user", "content": "?"}]))
    assert "".join(pieces) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


@pytest.mark.parametrize(
    ("said", "thoughts", "answer"),
    [
        ("<think>\nHe asks.\n</think>\n\nIt is.", "He asks.", "It is."),
        ("<think>\nHe asks", "He asks", ""),
        ("It is <b>.", "", "It is <b>."),
        ("<", "", "<"),
    ],
)
def test_thoughts_and_the_answer_are_streamed_apart(
    plain: Session,
    make_tokenizer: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    thoughts: str,
    answer: str,
) -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    opens = "{# <think></think> #}{{ 'assistant: ' if add_generation_prompt else '' }}"
    session = replace(plain, encoder=Encoder(make_tokenizer(template + opens)))
    ids = session.encoder.tokenizer(said, add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(type(plain.engine), "stream", lambda *_: iter(ids))
    thought: list[str] = []
    pieces = list(session.chat_stream([{"role": "user", "content": "?"}], think=thought.append))
    assert ("".join(thought), "".join(pieces)) == (thoughts, answer)
    assert all(pieces)


@pytest.mark.parametrize("of", ["adapter", "run"])
def test_an_adapter_answers_on_the_base_it_names(
    plain: Session, save: Callable[..., Path], of: str
) -> None:
    folder = save()
    tuned = _open(folder if of == "adapter" else folder.parent)
    assert tuned.attached is not None
    assert tuned.complete(PROMPTS, NEW) != plain.complete(PROMPTS, NEW)
    with tuned.attached.disabled():
        assert tuned.complete(PROMPTS, NEW) == plain.complete(PROMPTS, NEW)


def test_an_adapter_trained_with_dropout_answers_the_same_twice(
    save: Callable[..., Path],
) -> None:
    tuned = _open(save(dropout=0.5))
    assert tuned.complete(PROMPTS, NEW) == tuned.complete(PROMPTS, NEW)


def test_prompts_are_framed_as_in_training(save: Callable[..., Path], plain: Session) -> None:
    framed = Encoder(plain.encoder.tokenizer, system="Be brief.")
    tuned = _open(save(system="Be brief.", framing_digest=framed.digest))
    assert tuned.encoder.encode_prompt("Hi") == framed.encode_prompt("Hi")


def test_a_model_trained_on_plain_text_reads_plain_text(
    tiny_model_folder: Path, tmp_path: Path, plain: Session
) -> None:
    model = tmp_path / "run" / "model"
    shutil.copytree(tiny_model_folder, model)
    write_record(model, plain.base, "tiny", {"chat_template": "none"})
    for target in (model, model.parent):
        session = _open(target)
        assert session.encoder.prompt_text("Hi") == "Hi\n"


def test_another_chat_template_than_in_training_is_refused(
    save: Callable[..., Path], tiny_model_folder: Path, tmp_path: Path, plain: Session
) -> None:
    folder = save(framing_digest=plain.encoder.digest)
    _open(folder)
    other = shutil.copytree(tiny_model_folder, tmp_path / "other")
    (other / "chat_template.jinja").write_text(
        (other / "chat_template.jinja").read_text().replace("<|im_start|>", "<|im_start|>the ")
    )
    with pytest.raises(InputError, match="a different chat template or tokenizer"):
        _open(folder, base=str(other))


def test_a_base_may_be_given_in_place_of_the_named_one(
    save: Callable[..., Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = save()
    config = json.loads((folder / "adapter_config.json").read_text())
    record = json.loads((folder / "brulee.json").read_text())
    moved = str(tmp_path / "gone")
    config["base_model_name_or_path"] = record["base"]["source"] = moved
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "brulee.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="gone"):
        _open(folder)
    assert _open(folder, base=str(tiny_model_folder)).attached is not None


def test_an_adapter_that_names_no_base_asks_for_one(save: Callable[..., Path]) -> None:
    folder = save()
    (folder / "brulee.json").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    del config["base_model_name_or_path"]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="names no base model"):
        _open(folder)


def test_a_run_without_an_adapter_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: run\n")
    with pytest.raises(InputError, match=f"brulee resume {tmp_path}"):
        _open(tmp_path)

"""Chats of several turns, from a file to scores: all answers learned, the last one scored."""

import json
from datetime import date
from pathlib import Path
from typing import Any

from brulee.data.corpus import open_corpus
from brulee.data.encoding import Encoder
from brulee.pipeline.folder import reopen_run
from brulee.pipeline.preparation import prepare
from brulee.recipe import load_recipe


def chat(i: int) -> dict[str, Any]:
    turns = [f"Where is parcel {i}?", f"On its way, number {i}.", "And when?", f"On day {i}."]
    roles = ("user", "assistant", "user", "assistant")
    return {"messages": [{"role": r, "content": t} for r, t in zip(roles, turns, strict=True)]}


def chats(at: Any, **more: Any) -> Any:
    Path("rows.jsonl").write_text("".join(json.dumps(chat(i)) + "\n" for i in range(30)))
    data = {"source": "rows.jsonl", "split": {"test": 0.2}, **more}
    return at.run(data=data)


def test_a_chat_is_trained_on_and_scored_by_its_last_answer(at: Any, brulee: Any) -> None:
    called = brulee(*chats(at))
    assert called.code == 0, called.err
    assert "read as openai-chat" in called.err
    lines = Path("runs/recipe/eval/tuned/rows-test.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    number = first["references"][0].removeprefix("On day ").removesuffix(".")
    assert first["prompt"] == (
        f"user: Where is parcel {number}?\n\nassistant: On its way, number {number}.\n\n"
        "user: And when?"
    )


def test_turns_decides_how_many_answers_are_learned(at: Any, make_tokenizer: Any) -> None:
    learned = {}
    for turns in ("every", "last"):
        recipe = load_recipe(chats(at, turns=turns)[1])
        (task,) = open_corpus(recipe).tasks.values()
        encoder = Encoder(make_tokenizer(), max_length=512)
        learned[turns] = {len(task.draw(encoder, row, 0, "").spans) for row in task.train}
    assert learned == {"every": {2}, "last": {1}}


def test_a_run_keeps_the_day_on_which_it_began(at: Any, brulee: Any) -> None:
    """Else a run that is continued on another day would train on other texts."""
    turns = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    prints = "{{ strftime_now('%d.%m.%Y') }}"
    Path("dated.jinja").write_text(prints + turns)
    model = {"name": str(at.model), "chat_template": "dated.jinja"}
    _, recipe, *more = chats(at)
    called = brulee("train", recipe, *more, "--set", f"model={json.dumps(model)}")
    assert called.code == 0, called.err
    manifest = Path("runs/recipe/manifest.json")
    written = json.loads(manifest.read_text())
    assert written["day"] == date.today().isoformat()
    manifest.write_text(json.dumps({**written, "day": "2024-02-29"}))
    asked = prepare(reopen_run(Path("runs/recipe"))).encoder.prompt_text("Where?")
    assert asked == "29.02.2024<|im_start|>Where?<|im_end|>"

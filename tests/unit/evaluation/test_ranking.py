"""Ranked choices: the likeliest is what whole answers' log-probabilities say, and it is kept."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brulee.data.encoding import Encoded, Encoder
from brulee.data.task import Item
from brulee.data.template import Rendered
from brulee.errors import InputError
from brulee.evaluation import answering, metric
from brulee.evaluation.answering import answer_items
from brulee.evaluation.answers import Answer, keep_just, read_lines
from brulee.evaluation.ranking import Ranked
from brulee.inference.engine import Engine, Likelihood
from brulee.inference.sampling import Sampling
from brulee.inference.session import open_engine

if TYPE_CHECKING:
    from brulee.models.loading import Base

Make = Callable[..., "Base"]
CHOICES = ("Yes.", "No.", "The guest could not check in")
QUESTIONS = (
    "The customer asked where the parcel was.",
    "Was the room ready?",
    "Which is it?",
    "Give it between one and five stars.",
)
ITEMS = [
    Item(str(i), Rendered(text, CHOICES[i % 3], CHOICES), (CHOICES[i % 3],))
    for i, text in enumerate(QUESTIONS)
]
RANKED = ("ranked_accuracy", "ranked_accuracy_norm")


class Counting(Engine):
    """An engine that knows how many texts and choices it was asked for."""

    def generate(self, prompts: Any, *rest: Any, **named: Any) -> Any:
        self.texts = getattr(self, "texts", 0) + len(prompts)
        return super().generate(prompts, *rest, **named)

    def loglikelihood(self, requests: Any, *rest: Any, **named: Any) -> Any:
        self.choices = getattr(self, "choices", 0) + len(requests)
        return super().loglikelihood(requests, *rest, **named)


def counting(engine: Engine) -> Counting:
    engine.__class__ = Counting
    assert isinstance(engine, Counting)
    engine.texts = engine.choices = 0
    return engine


def asked(
    base: Base, file: Path, *names: str, items: list[Item] = ITEMS, **how: Any
) -> tuple[list[Answer], Counting]:
    encoder = Encoder(base.tokenizer, kind=base.kind, **how)
    engine = counting(open_engine(base, encoder))
    found = answer_items(
        engine, encoder, items, [metric(name) for name in names], Sampling(6),
        task="t/test", file=file, title="",
    )  # fmt: skip
    return found, engine


def by_hand(base: Base, encoder: Encoder, item: Item, choice: str) -> float:
    """The log-probability of a choice with its end, by the whole document's logits."""
    document = encoder.encode_rendered(replace(item.asked, completion=choice))
    ids = torch.tensor([document.prompt + document.completion])
    start = len(document.prompt)
    with torch.no_grad():
        if base.kind == "seq2seq":
            labels = torch.tensor([document.completion])
            logits = base.model(input_ids=ids[:, :start], labels=labels).logits[0]
            targets = labels[0]
        else:
            logits, targets = base.model(input_ids=ids).logits[0, start - 1 : -1], ids[0, start:]
    return float(logits.float().log_softmax(-1).gather(1, targets[:, None]).sum())


@pytest.mark.parametrize(
    ("name", "how"), [("llama", {}), ("llama", {"chat_template": "none"}), ("t5", {})]
)
def test_the_likeliest_choice_is_that_of_whole_answers(
    make_base: Make, tmp_path: Path, name: str, how: dict[str, Any]
) -> None:
    base = make_base(name)
    found, _ = asked(base, tmp_path / "a.jsonl", *RANKED, **how)
    encoder = Encoder(base.tokenizer, kind=base.kind, **how)
    for item, answer in zip(ITEMS, found, strict=True):
        likely = [by_hand(base, encoder, item, choice) for choice in CHOICES]
        assert [one[0] for one in answer.reply["likelihoods"]] == pytest.approx(likely, abs=1e-4)
        best = max(CHOICES, key=lambda c: likely[CHOICES.index(c)])
        by_byte = max(CHOICES, key=lambda c: likely[CHOICES.index(c)] / len(c))
        assert answer.output == best
        right = {
            key: float(c in item.references) for key, c in zip(RANKED, (best, by_byte), strict=True)
        }
        assert answer.scores == right


def test_length_counts_for_one_of_the_two() -> None:
    likely = [Likelihood(-4.0, 1, False), Likelihood(-6.0, 3, False)]
    plain, by_byte = (metric(name) for name in RANKED)
    assert isinstance(plain, Ranked)
    assert isinstance(by_byte, Ranked)
    assert plain.choose(["no", "perhaps"], likely) == "no"
    assert by_byte.choose(["no", "perhaps"], likely) == "perhaps"
    assert plain.choose(["b", "a"], [likely[0]] * 2) == "b"
    assert by_byte.choose(["b", "and"], likely) == "and"
    assert by_byte.choose(["\N{EURO SIGN}", "and"], likely) == "\N{EURO SIGN}"


def test_texts_and_choices_of_an_item_are_one_line_and_are_not_asked_again(
    make_base: Make, tmp_path: Path
) -> None:
    base, file = make_base("llama"), tmp_path / "a.jsonl"
    names = ("ranked_accuracy", "rouge1")
    found, engine = asked(base, file, *names)
    assert (engine.texts, engine.choices) == (4, 12)
    alone, _ = asked(base, tmp_path / "b.jsonl", "rouge1")
    assert [one.output for one in found] == [one.output for one in alone]
    assert {*found[0].scores} == {*names} == {*found[0].statistics}
    keep_just(file, found)
    assert read_lines(file) == found
    assert not file.with_suffix(".spare").exists()
    keep_just(file, asked(base, file, "bleu")[0])  # does not lose what is not wanted now
    again, engine = asked(base, file, *names, "ranked_accuracy_norm", "bleu")
    assert (engine.texts, engine.choices) == (0, 0)
    assert [one.output for one in again] == [one.output for one in found]


def test_an_interrupted_ranking_goes_on_where_it_was(make_base: Make, tmp_path: Path) -> None:
    base, file = make_base("llama"), tmp_path / "a.jsonl"
    whole, _ = asked(base, file, *RANKED)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + lines[3][:40])
    again, engine = asked(base, file, *RANKED)
    assert engine.choices == 3
    assert again == whole
    assert sorted(json.loads(line)["id"] for line in file.read_text().splitlines()) == [*"0123"]


def test_labels_are_scored_by_the_choice(make_base: Make, tmp_path: Path) -> None:
    base = make_base("llama")
    encoder = Encoder(base.tokenizer)
    score = metric("ranked_macro_f1", CHOICES)
    found = answer_items(
        open_engine(base, encoder), encoder, ITEMS, [score], Sampling(6),
        task="t/test", file=tmp_path / "a.jsonl", title="",
    )  # fmt: skip
    plain = metric("macro_f1", CHOICES)
    for item, answer in zip(ITEMS, found, strict=True):
        same = plain.statistics(answer.output, item.references)["macro_f1"]
        assert answer.statistics["ranked_macro_f1"] == same.tolist()


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (None, "fewer than two"),
        (("Yes.", "Yes."), "fewer than two"),
        (("Red", "Green"), "'Yes.' is none of them: Red ||| Green"),
    ],
)
def test_a_row_without_fitting_choices_is_refused(
    make_base: Make, tmp_path: Path, choices: tuple[str, ...] | None, said: str
) -> None:
    item = Item("7", Rendered("Is it?", "Yes.", choices), ("Yes.",))
    with pytest.raises(InputError, match="t/test, row 7: ranked_accuracy") as caught:
        asked(make_base("llama"), tmp_path / "a.jsonl", "ranked_accuracy", items=[item])
    assert said in str(caught.value)


def test_choices_are_held_a_wave_at_a_time_and_their_likelihoods_are_the_same(
    make_base: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base("llama")
    items = [replace(ITEMS[i % 4], id=str(i), asked=replace(ITEMS[i % 4].asked, prompt=f"{i}: {i}"))
             for i in range(12)]  # fmt: skip
    whole, engine = asked(base, tmp_path / "whole.jsonl", *RANKED, items=items)
    assert engine.choices == 36
    held: list[weakref.ref[Encoded]] = []
    alive: list[int] = []
    original = Engine.loglikelihood

    def watched(self: Engine, requests: Any, *rest: Any) -> Any:
        gc.collect()
        alive.append(sum(one() is not None for one in held))
        held.extend(weakref.ref(one) for one in requests)
        return original(self, requests, *rest)

    monkeypatch.setattr(Engine, "loglikelihood", watched)
    monkeypatch.setattr(answering, "WAVE_TOKENS", 200)
    gc.freeze()  # or all that other tests have made is looked through at every request
    try:
        in_waves, engine = asked(base, tmp_path / "waves.jsonl", *RANKED, items=items)
    finally:
        gc.unfreeze()
    assert in_waves == whole
    assert engine.choices == 36
    assert len(alive) > 4
    assert max(alive) <= 3, "what was asked is let go, but for the last item's, before the next is"


def test_a_row_without_its_answer_is_refused_before_any_is_asked(
    make_base: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "WAVE_TOKENS", 1)
    wrong = replace(ITEMS[3], references=("Perhaps.",))
    with pytest.raises(InputError, match=r"row 3: .*'Perhaps.' is none of them"):
        asked(make_base("llama"), tmp_path / "a.jsonl", *RANKED, items=[*ITEMS[:3], wrong])
    assert not (tmp_path / "a.jsonl").exists()


def test_a_choice_that_the_model_cannot_read_is_named(make_base: Make, tmp_path: Path) -> None:
    long = Rendered("?", "Yes.", ("Yes.", "very " * 600))
    base = make_base("llama", max_position_embeddings=256)
    said = r"t/test, row 9: choice 'very .{35}\.\.\.', a text of \d+ tokens is too long: this model"
    with pytest.raises(InputError, match=said):
        asked(base, tmp_path / "a.jsonl", *RANKED, items=[Item("9", long, ("Yes.",))])


def test_documents_are_the_same_together_and_alone(make_base: Make) -> None:
    base = make_base("llama")
    encoder = Encoder(base.tokenizer, kind=base.kind)
    asked_ = [replace(ITEMS[0].asked, completion=choice) for choice in CHOICES]
    assert encoder.encode_all(asked_) == [encoder.encode_rendered(one) for one in asked_]

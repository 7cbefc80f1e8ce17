"""Every reply is kept at once and asked for once; what a task says reaches the model unchanged."""

from __future__ import annotations

import random
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Metaspace
from transformers import PreTrainedTokenizerFast

from brulee.data.encoding import Encoder
from brulee.errors import InputError
from brulee.evaluation.answers import read_lines
from brulee.evaluation.asking import ask
from brulee.evaluation.suite_run import Model, answer
from brulee.evaluation.tasks import Example, Framing, Generation, Judged, Reply, SuiteTask
from brulee.inference.completion import Completion, StopTexts
from brulee.inference.engine import Engine
from brulee.inference.sampling import Sampling
from brulee.inference.session import open_engine

if TYPE_CHECKING:
    from brulee.models.loading import Base

Make = Callable[..., "Base"]
REASONING = runpy.run_path(str(Path(__file__).parents[2] / "reasoning_templates.py"))["TEMPLATES"]


class Stopped(BaseException):
    """What a kill is to the code that it hits."""


class CountingEngine:
    """An engine that counts requests, and dies after so many items."""

    def __init__(self, engine: Engine, dies_after: int | None = None) -> None:
        self.engine, self.left, self.asked = engine, dies_after, 0

    def loglikelihood(self, requests: Any, done: Any) -> Any:
        return self.engine.loglikelihood(requests, self._noted(done))

    def complete(self, prompts: Any, sampling: Any, done: Any) -> Any:
        return self.engine.complete(prompts, sampling, self._noted(done))

    def _noted(self, done: Any) -> Any:
        def note(i: int, found: Any) -> None:
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise Stopped
            self.asked += 1
            done(i, found)

        return note


class Quiz(SuiteTask):
    """Choices for even items, writing for odd ones would be two tasks; this one is either."""

    name = "quiz"
    metrics = ("length", "rank")

    def __init__(self, generation: Generation | None = None, words: str = "parcel") -> None:
        self.generation, self.words = generation, words

    def examples(self, limit: int | None = None) -> list[Example]:
        choices = () if self.generation else (" yes", " no", " not at all")
        return [
            Example(
                id=str(i),
                preamble="Was it so? \n",
                shots=tuple(f"The {self.words} {k} came. Yes.\n" for k in range(3)),
                question=f"The {self.words} {i} came.",
                choices=choices,
                references=("yes",),
            )
            for i in range(limit or 12)
        ]

    def judge(self, example: Example, reply: Reply) -> Judged:
        output = reply.text or str(int(np.argmax([f.log_probability for f in reply.likelihoods])))
        return Judged(output, {"length": [float(len(output))]})

    def join(self, examples: Any, judged: Any) -> list[Judged]:
        order = sorted(range(len(judged)), key=lambda i: judged[i].output)
        return [
            Judged(one.output, {**one.statistics, "rank": [float(order.index(i))]})
            for i, one in enumerate(judged)
        ]


def model(base: Base, room: int | None = 512, dies_after: int | None = None) -> Model:
    encoder = Encoder(base.tokenizer, kind=base.kind)
    engine = CountingEngine(open_engine(base, encoder), dies_after)
    return Model(engine, encoder, room)  # type: ignore[arg-type]


TASKS = [Quiz(), Quiz(Generation(12, (".",)))]


@pytest.mark.parametrize("task", TASKS, ids=["choices", "writing"])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_second_evaluation_asks_the_model_nothing(
    make_base: Make, tmp_path: Path, task: Quiz, name: str
) -> None:
    base, file = make_base(name), tmp_path / "quiz.jsonl"
    first, again = model(base), model(base)
    found = answer(task, task.examples(), first, file, "")
    assert first.engine.asked == len(found) * (1 if task.generation else 3)  # type: ignore[attr-defined]
    assert answer(task, task.examples(), again, file, "") == found
    assert again.engine.asked == 0  # type: ignore[attr-defined]
    assert [a.scores.keys() for a in found] == [{"length", "rank"}] * 12


@pytest.mark.parametrize("task", TASKS, ids=["choices", "writing"])
def test_killed_anywhere_it_ends_with_the_same_answers(
    make_base: Make, tmp_path: Path, task: Quiz
) -> None:
    base = make_base("llama")
    expected = answer(task, task.examples(), model(base), tmp_path / "whole.jsonl", "")
    draw, file, asked = random.Random(0), tmp_path / "killed.jsonl", 0
    for _ in range(10):
        dying = model(base, dies_after=draw.randrange(4))
        with pytest.raises(Stopped):
            answer(task, task.examples(40), dying, file, "")
        asked += dying.engine.asked  # type: ignore[attr-defined]
        with file.open("a") as torn:  # as a kill in the middle of a write leaves it
            torn.write('{"id": "3", "task"')
    assert asked > 0
    found = answer(task, task.examples(), model(base), file, "")
    assert [a.output for a in found] == [a.output for a in expected]
    assert [a.scores for a in found] == [a.scores for a in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for (ours_p, *_), (theirs_p, *_) in zip(
            ours.reply.get("likelihoods", []), theirs.reply.get("likelihoods", []), strict=True
        ):
            assert ours_p == pytest.approx(theirs_p, abs=1e-4)


def test_a_kill_in_the_middle_of_a_character_costs_one_line(
    make_base: Make, tmp_path: Path
) -> None:
    base, task, file = make_base("llama"), Quiz(words="pärcel"), tmp_path / "quiz.jsonl"
    answer(task, task.examples(5), model(base), file, "")
    whole = file.read_bytes()
    for cut in range(whole.rfind("ä".encode()) + 1, len(whole)):
        file.write_bytes(whole[:cut])
        assert len(read_lines(file)) == 4
        assert file.read_bytes() == whole[: whole[:-1].rfind(b"\n") + 1]


def test_more_items_ask_for_the_new_ones_only(make_base: Make, tmp_path: Path) -> None:
    base, task, file = make_base("llama"), Quiz(), tmp_path / "quiz.jsonl"
    answer(task, task.examples(5), model(base), file, "")
    more = model(base)
    answer(task, task.examples(8), more, file, "")
    assert more.engine.asked == 3 * 3  # type: ignore[attr-defined]
    assert len(read_lines(file)) == 8


def test_another_prompt_is_asked_anew(make_base: Make, tmp_path: Path) -> None:
    base, file = make_base("llama"), tmp_path / "quiz.jsonl"
    answer(Quiz(), Quiz().examples(), model(base), file, "")
    other = model(base)
    answer(Quiz(words="guest"), Quiz(words="guest").examples(), other, file, "")
    assert other.engine.asked == 12 * 3  # type: ignore[attr-defined]


def test_an_answer_ends_before_the_first_stop_string(make_base: Make, tmp_path: Path) -> None:
    base = make_base("llama")
    whole = Quiz(Generation(24))
    texts = [
        a.reply["text"] for a in answer(whole, whole.examples(), model(base), tmp_path / "a", "")
    ]
    stop = next(c for text in texts for c in text[3:] if c.isalpha())
    cut = Quiz(Generation(24, ("never there", stop)))
    found = answer(cut, cut.examples(), model(base), tmp_path / "b", "")
    assert [a.reply["text"] for a in found] == [text.split(stop)[0] for text in texts]
    assert any(stop in text for text in texts)


def test_shots_go_from_the_end_where_room_is_short(make_base: Make) -> None:
    encoder = Encoder(make_base("llama").tokenizer)
    (example,) = Quiz().examples(1)
    (whole,) = ask([example], encoder, "plain", None, None)
    size = max(len(r.ids) for r in whole.requests)
    assert whole.shots == 3
    (short,) = ask([example], encoder, "plain", None, size - 1)
    text = encoder.tokenizer.decode(short.requests[0].prompt)
    assert short.shots == 2
    assert "parcel 0 came. Yes" in text
    assert "parcel 1 came. Yes" in text
    assert "parcel 2 came. Yes" not in text


def test_without_shots_a_text_that_is_too_long_loses_its_beginning(make_base: Make) -> None:
    encoder = Encoder(make_base("llama").tokenizer)
    example = Example(id="0", question="one two three four", choices=(" five",))
    (whole,) = ask([example], encoder, "plain", None, None)
    (short,) = ask([example], encoder, "plain", None, len(whole.requests[0].ids) - 2)
    assert short.requests[0].ids == whole.requests[0].ids[2:]
    assert short.requests[0].completion == whole.requests[0].completion


def test_answers_that_leave_no_room_for_a_question_are_refused(make_base: Make) -> None:
    encoder = Encoder(make_base("llama").tokenizer)
    example = Example(id="0", question="one two three four")
    (asked,) = ask([example], encoder, "plain", Generation(63), 64)
    assert len(asked.prompt) == 1
    with pytest.raises(InputError, match=r"up to 64 tokens leave no room.*at most 64 tokens"):
        ask([example], encoder, "plain", Generation(64), 64)
    # What is chosen is not written.
    (chosen,) = Quiz().examples(1)
    assert len(ask([chosen], encoder, "plain", Generation(512), 512)) == 1


def test_what_an_encoder_decoder_writes_takes_no_room_from_what_it_reads(
    make_base: Make, tmp_path: Path
) -> None:
    base, task = make_base("bart"), Quiz(Generation(120))
    room = 128
    encoder = Encoder(base.tokenizer, kind=base.kind)
    (asked,) = ask(task.examples(1), encoder, "plain", task.generation, room)
    assert asked.shots == 3
    assert len(asked.prompt) + 120 > room
    (found,) = answer(task, task.examples(1), model(base, room), tmp_path / "quiz.jsonl", "")
    assert found.tokens <= 120


def test_context_and_choice_are_tokenised_together(make_base: Make) -> None:
    tokenizer = make_base("llama").tokenizer
    encoder = Encoder(tokenizer)
    example = Example(id="0", question="The customer asked: ", choices=("the parcel", "an agent"))
    (asked,) = ask([example], encoder, "plain", None, None)
    for request, choice in zip(asked.requests, example.choices, strict=True):
        together = tokenizer(f"The customer asked: {choice}")["input_ids"]
        assert list(request.ids) == together
        # The space belongs to the choice's first word, as in ordinary text.
        assert tokenizer.decode(request.completion) == f" {choice}"


def letters(spaces: str, *merged: tuple[str, str]) -> Encoder:
    """An encoder whose tokens are characters and what `merged` makes of them."""
    signs = ["<s>", "</s>", *"Answer:(BCD)\u2581\u0120"]
    model = BPE({t: i for i, t in enumerate([*signs, *map("".join, merged)])}, list(merged))
    core = Tokenizer(model)
    core.pre_tokenizer = {
        "prefixed": Metaspace(split=True),
        "bytes": ByteLevel(add_prefix_space=False),
        "merging": Metaspace(prepend_scheme="never", split=False),
    }[spaces]
    return Encoder(
        PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    )


@pytest.mark.parametrize(
    ("spaces", "merged", "question", "choices", "scored"),
    [
        ("prefixed", [("\u2581", "A")], "Answer:", (" A", " B"), ["\u2581A", "\u2581 B"]),
        ("bytes", [("\u0120", "A")], "Answer:", (" A", " B"), ["\u0120A", "\u0120 B"]),
        # A token across the boundary: the model never reads its beginning twice.
        (
            "merging",
            [("\u2581", "A"), (":", "\u2581A")],
            "Answer:",
            (" A", " B"),
            [":\u2581A", ": \u2581 B"],
        ),
        ("merging", [("(", "A")], "Answer: (", ("A)", "B)"), ["(A )", "( B )"]),
        ("merging", [("(", "A")], "(", ("A", "B"), ["(A", "( B"]),
    ],
)
def test_scored_are_the_tokens_of_the_text_wherever_a_choice_begins(
    spaces: str,
    merged: list[tuple[str, str]],
    question: str,
    choices: tuple[str, ...],
    scored: list[str],
) -> None:
    encoder = letters(spaces, *merged)
    (asked,) = ask([Example("0", question=question, choices=choices)], encoder, "plain", None, None)
    names = encoder.tokenizer.convert_ids_to_tokens
    assert [" ".join(names(list(r.completion))) for r in asked.requests] == scored
    for request, choice in zip(asked.requests, choices, strict=True):
        whole = encoder.tokenizer(question + choice)["input_ids"]
        assert list(request.ids)[-len(whole) :] == whole
        assert len(request.prompt) > 0


def test_a_lone_text_is_read_from_its_first_token_on(make_base: Make) -> None:
    tokenizer = make_base("llama").tokenizer
    text = "The guest could not check in."
    (asked,) = ask(
        [Example(id="0", question="", choices=(text,))], Encoder(tokenizer), "plain", None, None
    )
    ids = tokenizer(text)["input_ids"]
    assert list(asked.requests[0].ids) == ids
    assert asked.requests[0].learned == len(ids) - 1


def test_choices_without_a_context_follow_the_token_that_begins_a_text(make_base: Make) -> None:
    tokenizer = make_base("llama").tokenizer
    example = Example(id="0", question="", choices=("yes", "no"))
    (asked,) = ask([example], Encoder(tokenizer), "plain", None, None)
    assert [r.prompt for r in asked.requests] == [(tokenizer.bos_token_id,)] * 2
    assert [tokenizer.decode(r.completion) for r in asked.requests] == ["yes", "no"]


def test_chat_framing_asks_as_training_does(make_base: Make) -> None:
    encoder = Encoder(make_base("llama").tokenizer)
    example = Example(id="0", question="Is it late?", choices=("yes", "no"))
    (asked,) = ask([example], encoder, "chat", None, None)
    assert asked.requests == tuple(encoder.encode("Is it late?", c) for c in ("yes", "no"))


def test_a_methods_own_ids_stand_first_and_are_never_cut(make_base: Make) -> None:
    encoder = Encoder(make_base("llama").tokenizer, prefix_ids=(300, 301))
    example = Example(id="0", question="one two three four", choices=(" five",))
    for room in (None, 6):
        (asked,) = ask([example], encoder, "plain", None, room)
        assert asked.requests[0].ids[:2] == (300, 301)
        assert room is None or len(asked.requests[0].ids) == room


@pytest.mark.parametrize(("stripped", "judged"), [(True, "It came."), (False, "\n\nIt came. ")])
def test_the_white_space_around_an_answer_is_judged_where_a_task_says_so(
    make_base: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stripped: bool, judged: str
) -> None:
    asked = model(make_base("llama"))

    def complete(prompts: Any, sampling: Sampling, done: Any) -> None:
        done(0, Completion((1, 2), "\n\nIt came. "))

    monkeypatch.setattr(asked.engine, "complete", complete)
    task = Quiz(Generation(12, stripped=stripped))
    for _ in range(2):  # the second time from the file
        (found,) = answer(task, task.examples(1), asked, tmp_path / "quiz.jsonl", "")
        assert found.output == judged


@pytest.mark.parametrize("framing", ["chat", "plain"])
def test_of_a_reasoning_model_the_answer_is_judged_up_to_its_first_stop(
    make_base: Make, tmp_path: Path, framing: Framing, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base("llama")
    base.tokenizer.chat_template = REASONING["shown"]
    asked = replace(model(base), framing=framing)
    said = "<think>\nIt. May.\n</think>\n\nYes. No."

    def complete(prompts: Any, sampling: Sampling, done: Any) -> None:
        ids = base.tokenizer(said, add_special_tokens=False)["input_ids"]
        for i, _ in enumerate(prompts):
            done(i, StopTexts(sampling.stop, base.tokenizer.decode).completion(ids))

    monkeypatch.setattr(asked.engine, "complete", complete)
    task = Quiz(Generation(12, (".",)))
    found = answer(task, task.examples(1), asked, tmp_path / "quiz.jsonl", "")
    assert found[0].output == ("Yes" if framing == "chat" else "<think>\nIt")

"""What is kept of texts is what would be read again, is bounded, and is nobody else's."""

from __future__ import annotations

import random
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.inference.adapters import Adapters
from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.joining import Arriving
from brulee.inference.kept import BLOCK, Kept
from brulee.inference.mixed import Request
from brulee.inference.on_device import on_device
from brulee.inference.reading import Pair
from brulee.inference.row import Voice
from brulee.inference.rows import Rows
from brulee.inference.sampling import Sampling
from brulee.models.loading import Base

MakeBase = Callable[..., Base]
_TESTS = runpy.run_path(str(Path(__file__).with_name("test_adapters.py")))
HELD, STORE = _TESTS["_held"], _TESTS["_store"]
WAYS = ["lora", "prefix", "sparse"]
ENOUGH = 2**22


def _stacks(tokens: int, layers: int = 2) -> dict[int, Pair]:
    """Keys and values of two heads, four wide: 64 bytes of a layer's token in each."""
    made = torch.Generator().manual_seed(0)
    return {
        layer: tuple(torch.randn(1, 2, tokens, 4, generator=made) for _ in range(2))  # type: ignore[misc]
        for layer in range(layers)
    }


def _voice(name: str) -> Voice:
    return Voice(name, None)  # type: ignore[arg-type]


def _text(*parts: int) -> list[int]:
    """A block of each number."""
    return [part for part in parts for _ in range(BLOCK)]


BLOCK_BYTES = BLOCK * 2 * 2 * 2 * 4 * 4


def test_places_are_copied_to_a_device_once_for_all_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, voice, stacks, made = Kept(80 * BLOCK_BYTES), _voice("a"), _stacks(40, 8), []
    monkeypatch.setattr(
        "brulee.inference.kept.on_device", lambda *x: made.append(x) or on_device(*x)
    )
    kept.keep(voice, _text(1, 2), stacks, at=0)
    found = kept.find(voice, _text(1, 2))
    for layer, stack in stacks.items():
        found.put(layer, stack, 0)
    assert found.tokens == 2 * BLOCK
    assert len(made) == 2, "one to write them, one to read them"


def test_the_longest_beginning_in_whole_blocks_is_found_and_is_what_was_kept() -> None:
    kept, voice, stacks = Kept(20 * BLOCK_BYTES), _voice("a"), _stacks(3 + 4 * BLOCK)
    kept.keep(voice, [*_text(1, 2, 3), 9], stacks, at=3)
    assert kept.tokens == 3 * BLOCK
    for text, found in (
        (_text(1, 2, 3, 4), 3),
        (_text(1, 2, 4), 2),
        ([*_text(1, 2), *[3] * (BLOCK - 1)], 2),
        (_text(2, 3), 0),
        ([], 0),
    ):
        assert kept.find(voice, text).tokens == found * BLOCK
    into: Pair = (torch.zeros(1, 2, 60, 4), torch.zeros(1, 2, 60, 4))
    kept.find(voice, _text(1, 2, 3)).put(1, into, bottom=5)
    for held, given in zip(into, stacks[1], strict=True):
        assert torch.equal(held[:, :, 5 : 5 + 48], given[:, :, 3 : 3 + 48])
        assert not held[:, :, :5].any()
        assert not held[:, :, 53:].any()


def test_a_voice_finds_nothing_of_anothers_and_nothing_once_it_is_gone() -> None:
    kept, one, same_name = Kept(20 * BLOCK_BYTES), _voice("a"), _voice("a")
    kept.keep(one, _text(1, 2), _stacks(40), at=0)
    assert kept.find(same_name, _text(1, 2)).tokens == 0
    kept.keep(same_name, _text(1), _stacks(40), at=0)
    kept.only([same_name])
    assert kept.find(one, _text(1, 2)).tokens == 0
    assert kept.tokens == kept.find(same_name, _text(1, 2)).tokens == BLOCK
    kept.only([])
    for number in range(20):  # all of the pool is there again
        kept.keep(one, _text(number), _stacks(BLOCK), at=0)
    assert kept.tokens == 20 * BLOCK


def test_what_was_of_no_use_for_longest_goes_and_never_what_others_hang_on() -> None:
    kept, voice = Kept(4 * BLOCK_BYTES), _voice("a")
    stacks = _stacks(6 * BLOCK)
    kept.keep(voice, _text(1, 2), stacks, at=0)
    kept.keep(voice, _text(1, 3, 4), stacks, at=0)
    kept.find(voice, _text(1, 2))
    kept.keep(voice, _text(5), stacks, at=0)  # for 4
    assert [kept.find(voice, text).tokens // BLOCK for text in ([_text(1, 3, 4)])] == [2]
    kept.find(voice, _text(1, 2))
    kept.keep(voice, _text(6, 7), stacks, at=0)  # for 5 and 3
    found = [_text(1, 2), _text(1, 3), _text(5), _text(6, 7)]
    assert [kept.find(voice, text).tokens // BLOCK for text in found] == [2, 1, 0, 2]
    kept.keep(voice, _text(8, 9, 10, 11, 12, 13), stacks, at=0)  # its beginning, no more
    assert kept.find(voice, _text(8, 9, 10, 11, 12)).tokens == kept.tokens == 4 * BLOCK
    kept.keep(voice, _text(8, 9, 10, 11, 12, 13), stacks, at=0)
    assert kept.find(voice, _text(8, 9, 10, 11, 12)).tokens == 4 * BLOCK


@pytest.mark.parametrize("number", range(3))
def test_at_random_it_finds_what_a_plain_list_of_texts_has(number: int) -> None:
    draw, kept = random.Random(number), Kept(64 * BLOCK_BYTES)
    voices, stacks = [_voice("a"), _voice("b")], _stacks(5 * BLOCK)
    texts: dict[Voice, list[list[int]]] = {voice: [] for voice in voices}
    for _ in range(60):
        voice = draw.choice(voices)
        text = _text(*[draw.randrange(2) for _ in range(draw.randrange(1, 5))])
        asked = text[: draw.randrange(len(text) + 1)]
        best = max((_alike(other, asked) for other in texts[voice]), default=0)
        assert kept.find(voice, asked).tokens == best
        kept.keep(voice, text, stacks, at=0)
        texts[voice].append(text)


def _alike(one: list[int], other: list[int]) -> int:
    """Tokens of the whole blocks in which two texts begin alike."""
    count = 0
    while one[count : count + BLOCK] == other[count : count + BLOCK] and count < len(other):
        if len(other) - count < BLOCK:
            break
        count += BLOCK
    return count


def test_nothing_is_kept_where_there_is_room_for_nothing() -> None:
    for room in (0, BLOCK_BYTES - 1):
        kept = Kept(room)
        kept.keep(_voice("a"), _text(1, 2), _stacks(40), at=0)
        assert kept.tokens == 0


@pytest.mark.parametrize(
    ("name", "sizes", "way"),
    [
        ("llama", {"hidden_size": 64}, "prefix"),
        ("llama", {}, "lora"),
        ("llama", {"hidden_size": 64}, "prompt"),
        ("mistral", {}, None),
        ("gpt2", {}, None),
        ("gemma", {}, "ia3"),
    ],
)
def test_logits_after_a_text_are_to_the_bit_those_of_one_that_is_read_whole(
    make_base: MakeBase, tmp_path: Path, name: str, sizes: dict[str, Any], way: str | None
) -> None:
    base = make_base(name, **sizes)
    held = HELD(base, tmp_path, [way]) if way else Adapters(base)
    voice = held.engine.voices[way]
    text = held._of(way).encode("The customer asked where the parcel was. " * 8, "a prompt")
    assert len(text) > 130

    def logits(ids: list[int], kept: Kept | None, tokens: int) -> torch.Tensor:
        arriving = Arriving(voice, ids, kept)
        while not arriving.ready(tokens):
            arriving.read_on(tokens)
        return arriving.become_row(Rows(1, len(ids) + 1), len(ids))

    with torch.no_grad():
        for cut, tokens in ((len(text), 512), (BLOCK + 1, 40), (100, 7), (129, 16)):
            kept = Kept(ENOUGH)
            logits([*text[: cut - 1], 7], kept, tokens)
            found = logits(text, kept, tokens)
            assert kept.tokens == len(text) // BLOCK * BLOCK + (cut % BLOCK == 0) * BLOCK
            assert torch.equal(found, logits(text, None, 512)), (cut, tokens)


def _chats(held: Adapters, names: list[str | None], count: int) -> list[Job]:
    """Requests that begin alike, some of them with another's whole prompt or its answer."""
    draw, jobs = random.Random(3), []
    for number in range(count):
        name = draw.choice(names)
        said = "The guest could not check in because the room was not ready. " * 3
        said += draw.choice(["", "a", "Which of these reviews " * draw.choice([1, 6])])
        heat = draw.choice([0.0, 1.0])
        sampling = Sampling(draw.choice([3, 14]), temperature=heat, seed=number)
        jobs.append(Job(Request(name, held._of(name).encode(said, "a prompt")), sampling))
    return jobs


def _answered(batch: Continuous, jobs: list[Job], ahead: bool) -> list[list[int]]:
    draw, coming = random.Random(5), list(jobs)
    while coming or not batch.idle:
        for _ in range(draw.choice([0, 1, 2])):
            if coming:
                batch.add(coming.pop(0))
        batch.step()
        while ahead and batch.idle and batch.read_ahead():
            pass
    return [job.live.ids for job in jobs if job.live is not None]


@pytest.mark.parametrize("sizes", [{"hidden_size": 64}, pytest.param({}, marks=pytest.mark.slow)])
def test_a_text_is_the_one_it_is_alone_whatever_is_kept(
    make_base: MakeBase, tmp_path: Path, sizes: dict[str, Any]
) -> None:
    held = HELD(make_base("llama", **sizes), tmp_path, WAYS)
    names: list[str | None] = [None, *WAYS]
    plain = [
        list(held.engine.complete([job.request], job.sampling)[0].ids)
        for job in _chats(held, names, 9)
    ]
    assert len({tuple(ids) for ids in plain}) > 5
    for room in (Room(kept_bytes=ENOUGH), Room(rows=3, pass_tokens=20, kept_bytes=2**15)):
        batch = Continuous(held.engine, room)
        for _ in range(2 if room.kept_bytes == ENOUGH else 1):
            jobs = _chats(held, names, 9)
            assert _answered(batch, jobs, ahead=True) == plain
        assert batch.kept_tokens > 0
        if room.kept_bytes == ENOUGH:
            found = [job.spared for job in jobs]
            assert found == [(len(job.request.prompt) - 1) // BLOCK * BLOCK for job in jobs]


def test_an_answer_is_kept_for_who_goes_on_from_it(make_base: MakeBase) -> None:
    held = Adapters(make_base("llama", hidden_size=64))
    batch = Continuous(held.engine, Room(kept_bytes=ENOUGH))
    prompt = held._of(None).encode("The guest could not check in. " * 2, "a prompt")
    first = Job(Request(None, prompt), Sampling(60, temperature=1.0, seed=1))
    ids = _answered(batch, [first], ahead=True)[0]
    assert len(ids) > 2 * BLOCK
    assert not batch.read_ahead()
    whole = [*prompt, *ids]
    second = Job(Request(None, [*whole, 5, 6, 7]), Sampling(20))
    found = _answered(batch, [second], ahead=False)[0]
    assert second.spared == len(whole) // BLOCK * BLOCK
    assert found == list(held.engine.complete([second.request], second.sampling)[0].ids)


def test_another_adapter_of_the_same_name_is_not_given_what_the_first_has_read(
    make_base: MakeBase, tmp_path: Path
) -> None:
    base = make_base("llama")
    for way in ("lora", "lora too"):
        STORE(base, way, tmp_path / way)
    held = Adapters(base)
    batch = Continuous(held.engine, Room(kept_bytes=ENOUGH))
    found = []
    for way in ("lora", "lora too"):
        held.add("mine", tmp_path / way)
        job = _chats(held, ["mine"], 2)[1]
        found += _answered(batch, [job], ahead=True)
        assert job.spared == 0
        assert found[-1] == list(held.engine.complete([job.request], job.sampling)[0].ids)
        held.remove("mine")
    assert found[0] != found[1]
    batch.step()
    assert batch.kept_tokens == 0
    assert not batch.read_ahead()

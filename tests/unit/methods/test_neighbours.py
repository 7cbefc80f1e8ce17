"""Neighbours of virtual tokens: the nearest are found, and chance is told from sense."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from brulee.errors import InputError
from brulee.methods import build_method
from brulee.methods.neighbours import baselines, neighbours, study
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base, load_base
from brulee.recipe import MethodSpec

WIDTH, TOP = 24, 4


@pytest.fixture
def vocabulary() -> torch.Tensor:
    """400 scattered tokens; among the first 40 are ten groups of four that lie close together."""
    draw = torch.Generator().manual_seed(0)
    table = torch.randn(400, WIDTH, generator=draw)
    centres = torch.randn(10, WIDTH, generator=draw)
    table[:40] = centres.repeat_interleave(4, dim=0) + 0.1 * table[:40]
    return table


def _centres(vocabulary: torch.Tensor) -> torch.Tensor:
    return vocabulary[:40].view(10, 4, WIDTH).mean(dim=1)


def test_the_nearest_come_first_with_their_cosine_and_distance(vocabulary: torch.Tensor) -> None:
    # Length says nothing: a long vector lies beside the same words.
    prompt = torch.stack([7.0 * vocabulary[3], 0.1 * _centres(vocabulary)[9]])
    first, second = neighbours(prompt, vocabulary, TOP, lambda i: f"<{i}>")
    assert first.nearest[0].id == 3
    assert first.nearest[0].text == "<3>"
    assert first.nearest[0].distance == pytest.approx(0.0, abs=1e-5)
    assert first.norm == pytest.approx(7.0 * vocabulary[3].norm().item())
    assert {n.id for n in first.nearest} == {0, 1, 2, 3}
    assert {n.id for n in second.nearest} == {36, 37, 38, 39}
    for token, vector in ((first, prompt[0]), (second, prompt[1])):
        cosines = F.cosine_similarity(vector[None], vocabulary)
        expected = cosines.sort(descending=True).values[:TOP].tolist()
        assert [n.cosine for n in token.nearest] == pytest.approx(expected, abs=1e-5)
        assert [n.distance for n in token.nearest] == [1 - n.cosine for n in token.nearest]


def test_tightness_is_the_mean_cosine_of_all_pairs(vocabulary: torch.Tensor) -> None:
    (token,) = neighbours(torch.randn(1, WIDTH), vocabulary, TOP, str)
    rows = [vocabulary[n.id] for n in token.nearest]
    pairs = [F.cosine_similarity(a, b, dim=0).item() for a, b in itertools.combinations(rows, 2)]
    assert token.tightness == pytest.approx(sum(pairs) / len(pairs), abs=1e-5)


def test_clusters_are_told_from_chance_and_chance_from_clusters(vocabulary: torch.Tensor) -> None:
    random, own = baselines(vocabulary, _centres(vocabulary), TOP)
    assert random.low < random.mean < random.high < 0.6
    assert random.p < 0.001
    assert own.p < 0.001
    prompt = torch.randn(10, WIDTH, generator=torch.Generator().manual_seed(4))
    random, _ = baselines(vocabulary, prompt, TOP)
    assert random.p > 0.05


def test_tokens_of_the_vocabulary_are_as_tight_as_itself(vocabulary: torch.Tensor) -> None:
    at = torch.randperm(400, generator=torch.Generator().manual_seed(1))[:60]
    _, own = baselines(vocabulary, vocabulary[at], TOP)
    assert 0.05 < own.p < 0.95


def test_chance_narrows_with_more_tokens_and_is_seeded(vocabulary: torch.Tensor) -> None:
    prompt = torch.randn(40, WIDTH)
    few, many = (baselines(vocabulary, prompt[:n], TOP)[0] for n in (4, 40))
    assert many.high - many.low < 0.6 * (few.high - few.low)
    assert baselines(vocabulary, prompt, TOP, 1) == baselines(vocabulary, prompt, TOP, 1)
    assert baselines(vocabulary, prompt, TOP, 1) != baselines(vocabulary, prompt, TOP, 2)


@pytest.fixture
def base(tiny_model_folder: Path) -> Base:
    return load_base(str(tiny_model_folder), torch.float32, torch.device("cpu"))


def _stored(base: Base, folder: Path, name: str, **options: object) -> None:
    method = build_method(MethodSpec(name=name, **options))
    method.instruct(base.tokenizer, "Summarise the conversation")
    save_adapter(folder, method.attach(base.model), base, str(base.folder), "", {})


def test_a_prompt_that_began_as_text_lies_on_it(base: Base, tmp_path: Path) -> None:
    words = base.tokenizer("Summarise the conversation", add_special_tokens=False)["input_ids"]
    _stored(base, tmp_path / "run" / "adapter", "prompt", tokens=len(words))
    for place in (tmp_path / "run", tmp_path / "run" / "adapter"):
        found = study(str(place), top=3)
        assert [token.nearest[0].id for token in found.tokens] == words
        assert "".join(token.nearest[0].text for token in found.tokens).strip() == (
            "Summarise the conversation"
        )
        assert (found.vocabulary, found.top) == (len(base.tokenizer), 3)


def test_of_an_encoder_decoder_the_encoders_vocabulary_is_meant(
    tiny_t5_folder: Path, tmp_path: Path
) -> None:
    base = load_base(str(tiny_t5_folder), torch.float32, torch.device("cpu"))
    _stored(base, tmp_path, "prompt", tokens=4)
    found = study(str(tmp_path), top=2)
    assert all(token.nearest[0].distance < 1e-5 for token in found.tokens)


@pytest.mark.parametrize(
    ("name", "said"),
    [("lora", "method lora"), ("norms", "selective"), ("prefix", "have no nearest words")],
)
def test_other_methods_have_no_tokens_to_look_at(
    base: Base, tmp_path: Path, name: str, said: str
) -> None:
    _stored(base, tmp_path, "selective" if name == "norms" else name)
    with pytest.raises(InputError, match=f"{said}.*need soft prompts"):
        study(str(tmp_path))


@pytest.mark.parametrize("top", [1, 301])
def test_too_few_or_too_many_neighbours(base: Base, tmp_path: Path, top: int) -> None:
    _stored(base, tmp_path, "prompt", tokens=2)
    with pytest.raises(InputError, match="at least 2 and at most the"):
        study(str(tmp_path), top=top)


def test_another_base_is_refused(base: Base, tiny_t5_folder: Path, tmp_path: Path) -> None:
    _stored(base, tmp_path, "prompt", tokens=2)
    with pytest.raises(InputError, match="digest"):
        study(str(tmp_path), base_name=str(tiny_t5_folder))

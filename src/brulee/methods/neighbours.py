"""The nearest neighbours of trained virtual tokens: the study in "The Power of Scale".

Lester et al. 2021, section 7: the words nearest to a trained token often belong together, unlike
those nearest to a random vector. This is measured here: the *tightness* of a vector is the mean
cosine of all pairs among its k nearest vocabulary tokens, that of a prompt the mean over its
tokens. There are two baselines, each sampled in sets of as many vectors as the prompt has:

    random       vectors with uniformly distributed directions
    vocabulary   the vocabulary's own tokens, each among its own neighbours

The second is not always harder to beat: tokens that were rare in pre-training lie close together,
and vectors near the mean of all vectors have them as neighbours.

Shapes: `P` virtual tokens, `V` vocabulary, `D` width, `K` neighbours, `M` drawn vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F

from brulee.errors import InputError
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.prefix import Prefix
from brulee.methods.prompt import KEY, Prompt, reading_embedding
from brulee.methods.shelf import locate_adapter
from brulee.models.loading import load_base

STATISTIC: Final = "mean cosine of all pairs among a token's nearest, averaged over the tokens"
_DRAWN, _RESAMPLED, _ROWS = 1000, 10_000, 128


@dataclass(frozen=True)
class Neighbour:
    """A vocabulary token and its distance; `distance` is 1 - `cosine`."""

    id: int
    text: str
    cosine: float
    distance: float


@dataclass(frozen=True)
class VirtualToken:
    """One trained token, its neighbours in order of distance, and their tightness."""

    nearest: tuple[Neighbour, ...]
    tightness: float
    norm: float


@dataclass(frozen=True)
class Baseline:
    """A prompt's tightness under chance: mean, central 95%, and the share at least as tight."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Study:
    """The neighbours of a prompt's tokens, and their tightness compared with chance."""

    folder: Path
    base: str
    vocabulary: int
    top: int
    tokens: tuple[VirtualToken, ...]
    tightness: float
    random: Baseline
    own: Baseline


def study(target: str, top: int = 5, base_name: str | None = None, seed: int = 0) -> Study:
    """Compare the soft prompt of a run or folder with its base's vocabulary.

    `base_name` replaces the base that the adapter names. Raises InputError for an adapter of
    another method, as `attach_adapter` does, and for `top` below 2 or beyond the vocabulary.
    """
    adapter = open_adapter(locate_adapter(target))
    _check_method(adapter.method(), adapter.folder)
    name, revision = adapter.named_base(base_name)
    base = load_base(name, torch.float32, torch.device("cpu"), revision, tokens=adapter.tokens)
    _, table = reading_embedding(base.model)
    with torch.no_grad():
        count = min(len(base.tokenizer), len(base.model.get_input_embeddings().weight))
        vocabulary_VD = table(torch.arange(count)).float()
    if not 2 <= top <= count:
        raise InputError(f"top = {top}: at least 2 and at most the {count:,} tokens of {name!r}.")
    prompt_PD = attach_adapter(adapter, base).tensors()[KEY]

    def text(token: int) -> str:
        return str(base.tokenizer.decode([token]))

    tokens = neighbours(prompt_PD, vocabulary_VD, top, text)
    random, own = baselines(vocabulary_VD, prompt_PD, top, seed)
    mean = sum(token.tightness for token in tokens) / len(tokens)
    return Study(adapter.folder, name, count, top, tokens, mean, random, own)


def neighbours(
    prompt_PD: torch.Tensor, vocabulary_VD: torch.Tensor, top: int, text: Callable[[int], str]
) -> tuple[VirtualToken, ...]:
    """Each token's `top` nearest neighbours by cosine."""
    unit_VD = F.normalize(vocabulary_VD, dim=1)
    cosine_PK, id_PK = _nearest(prompt_PD, unit_VD, top)
    tightness_P = _tightness(unit_VD[id_PK])
    return tuple(
        VirtualToken(
            tuple(Neighbour(i, text(i), c, 1 - c) for i, c in zip(ids, cosines, strict=True)),
            float(tightness),
            float(vector.norm()),
        )
        for ids, cosines, tightness, vector in zip(
            id_PK.tolist(), cosine_PK.tolist(), tightness_P, prompt_PD, strict=True
        )
    )


def baselines(
    vocabulary_VD: torch.Tensor, prompt_PD: torch.Tensor, top: int, seed: int = 0
) -> tuple[Baseline, Baseline]:
    """The expected tightness of random vectors, and of the vocabulary's tokens."""
    generator = torch.Generator().manual_seed(seed)
    unit_VD = F.normalize(vocabulary_VD, dim=1)
    found = _tightness(unit_VD[_nearest(prompt_PD, unit_VD, top)[1]]).mean()
    random_MD = torch.randn(_DRAWN, vocabulary_VD.shape[1], generator=generator)
    drawn = torch.randperm(len(vocabulary_VD), generator=generator)[:_DRAWN]

    def baseline(vectors_MD: torch.Tensor) -> Baseline:
        tightness_M = _tightness(unit_VD[_nearest(vectors_MD, unit_VD, top)[1]])
        picked = (_RESAMPLED, len(prompt_PD))
        at = torch.randint(len(tightness_M), picked, generator=generator)
        mean_R = tightness_M[at].mean(dim=1)
        low, high = torch.quantile(mean_R, torch.tensor([0.025, 0.975])).tolist()
        p = (1 + int((mean_R >= found).sum())) / (1 + _RESAMPLED)
        return Baseline(float(tightness_M.mean()), low, high, p)

    return baseline(random_MD), baseline(vocabulary_VD[drawn])


def _nearest(
    vectors_MD: torch.Tensor, unit_VD: torch.Tensor, top: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and ids of each vector's nearest tokens, (M, K), computed a few rows at a time."""
    unit_MD = F.normalize(vectors_MD, dim=1)
    parts = [(part @ unit_VD.T).topk(top, dim=1) for part in torch.split(unit_MD, _ROWS)]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def _tightness(unit_MKD: torch.Tensor) -> torch.Tensor:
    """Mean cosine of all pairs among K unit vectors, (M)."""
    count = unit_MKD.shape[1]
    # The square of the sum contains every pair twice, and each vector with itself once.
    whole_M = unit_MKD.sum(dim=1).square().sum(dim=1)
    alone_M = unit_MKD.square().sum(dim=(1, 2))
    return (whole_M - alone_M) / (count * (count - 1))


def _check_method(method: object, folder: Path) -> None:
    if isinstance(method, Prompt):
        return
    if isinstance(method, Prefix):
        raise InputError(
            f"{folder}: a prefix is keys and values of every layer, which have no nearest words; "
            "neighbours need soft prompts (method prompt)."
        )
    made = getattr(method, "name", "another method")
    raise InputError(
        f"{folder}: made by method {made}, which trains no tokens; neighbours need soft prompts "
        "(method prompt)."
    )

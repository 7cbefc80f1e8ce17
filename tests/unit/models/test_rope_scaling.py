"""Scaled rotary positions: what transformers computes with them, wherever they are computed."""

from __future__ import annotations

import random
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.inference.adapters import Adapters
from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.engine import Engine
from brulee.inference.mixed import Request
from brulee.inference.sampling import Sampling
from brulee.models.context import context_length
from brulee.models.loading import Base, load_base
from brulee.models.skeleton import load_shallow, load_skeleton
from brulee.training.passes import Passes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Folders = Callable[..., Path]
HELD = runpy.run_path(str(Path(__file__).parents[1] / "inference" / "test_adapters.py"))["_held"]
TRAINED = 48  # positions of the checkpoints
FROM = "original_max_position_embeddings"
YARN = {"rope_type": "yarn", "factor": 4.0}
SCALINGS: dict[str, dict[str, Any]] = {
    "yarn": {**YARN, "beta_fast": 4.0, "beta_slow": 0.5},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "llama3": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0},
    "longrope": {"rope_type": "longrope", "factor": 4.0, "short_factor": [1.0, 1.1, 1.2, 1.3],
                 "long_factor": [1.5, 2.0, 3.0, 4.0]},
}  # fmt: skip
DEVICE = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(
    make_model: Callable[..., PreTrainedModel],
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
    tmp_path_factory: pytest.TempPathFactory,
) -> Folders:
    """The folder of a checkpoint of 48 positions."""

    def saved(name: str = "llama", **changes: Any) -> Path:
        folder = tmp_path_factory.mktemp(name) / name
        positions = {} if name in ("gpt2", "t5") else {"max_position_embeddings": TRAINED}
        make_model(name, **positions, **changes).save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        return folder

    return saved


@pytest.fixture(scope="module")
def llama(folders: Folders) -> Path:
    return folders("llama")


def loaded(folder: Path, scaling: dict[str, Any]) -> Base:
    return load_base(str(folder), torch.float32, DEVICE, rope_scaling=scaling)


def theirs(folder: Path, scaling: dict[str, Any]) -> PreTrainedModel:
    """transformers' model with the same scaling in its configuration."""
    config = AutoConfig.from_pretrained(folder)
    own = {} if scaling["rope_type"] in ("linear", "dynamic") else {FROM: TRAINED}
    config.rope_parameters = {**config.rope_parameters, **scaling, **own}
    if scaling["rope_type"] != "dynamic":
        config.max_position_embeddings = int(TRAINED * scaling["factor"])
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, config=config)
    return model.eval()


def texts(*lengths: int) -> list[list[int]]:
    draw = random.Random(0)
    return [[draw.randrange(5, 300) for _ in range(length)] for length in lengths]


@torch.no_grad()
def greedy(model: PreTrainedModel, text: list[int], tokens: int) -> list[int]:
    """Each token after a whole pass over those before it."""
    ids = list(text)
    for _ in range(tokens):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(text) :]


@pytest.mark.parametrize("kind", SCALINGS)
def test_logits_losses_and_answers_are_those_of_transformers(llama: Path, kind: str) -> None:
    scaling = SCALINGS[kind]
    base, reference = loaded(llama, scaling), theirs(llama, scaling)
    assert context_length(base.model) == 4 * TRAINED
    engine, passes = Engine(base.model, [], 0), Passes(base, most=8)
    assert passes.fused
    assert engine.reads_streams
    documents = [Encoded.ending(ids, 7) for ids in texts(30, 150, 20, 60)]
    with torch.no_grad():
        logits = [reference(torch.tensor([d.ids])).logits[0] for d in documents]
        ours = [base.model(torch.tensor([d.ids])).logits[0] for d in documents]
    for one, other in zip(ours, logits, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    wanted = [
        float(found[-8:-1].log_softmax(-1).gather(1, torch.tensor(d.ids[-7:])[:, None]).sum())
        for found, d in zip(logits, documents, strict=True)
    ]
    scored = [one.log_probability for one in engine.loglikelihood(documents)]
    assert scored == pytest.approx(wanted, rel=1e-4)
    assert passes.total_loss(documents)[0] == pytest.approx(-sum(wanted), rel=1e-4)
    prompts = texts(30, 100, 46, 46)
    written = engine.generate(prompts, Sampling(5))
    assert written == [greedy(reference, prompt, 5) for prompt in prompts]


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_angles_that_change_with_length_change_no_other_answer(
    folders: Folders, tmp_path: Path, kind: str
) -> None:
    """One batch of a server and of `complete`, some of whose texts grow beyond the checkpoint's."""
    base, ways = loaded(folders("llama"), SCALINGS[kind]), ["lora", "prefix"]
    held: Adapters = HELD(base, tmp_path, ways)
    names = [None, *ways] * 3
    prompts = texts(30, 44, 10, 100, 44, 44, 20, 60, 41)
    sampling = Sampling(9)
    requests = [Request(*one) for one in zip(names, prompts, strict=True)]
    alone = [held.engine.complete([one], sampling)[0].ids for one in requests]
    views = {name: held.session(name).base.model for name in names}
    for name, prompt, ids in list(zip(names, prompts, alone, strict=True))[2:6]:
        assert list(ids) == greedy(views[name], prompt, 9)
    assert [one.ids for one in held.engine.complete(requests, sampling)] == alone
    jobs = [Job(one, sampling) for one in requests]
    batch = Continuous(held.engine, Room(rows=4, pass_tokens=16, kept_bytes=2**20))
    for job in jobs:
        batch.add(job)
    while not batch.idle:
        batch.step()
    while batch.read_ahead():
        pass
    assert [tuple(job.live.ids) for job in jobs if job.live] == alone


def test_a_checkpoints_own_scaling_is_replaced(folders: Folders) -> None:
    """From what the checkpoint was pretrained on, with its own base frequency."""
    own = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           FROM: 12, "rope_theta": 5e5}  # fmt: skip
    folder = folders("llama", rope_parameters=own)
    base = loaded(folder, YARN)
    wanted = {"rope_theta": 5e5, **YARN, FROM: 12}
    assert base.model.config.rope_parameters == wanted
    assert base.rope_scaling == {**YARN, FROM: 12}
    assert context_length(base.model) == 48
    again = loaded(folder, base.rope_scaling)
    assert again.model.config.to_dict() == base.model.config.to_dict()
    none = loaded(folder, {"rope_type": "default"})
    assert none.model.config.rope_parameters == {"rope_theta": 5e5, "rope_type": "default"}
    assert context_length(none.model) == 12
    stretched = folders("llama", rope_parameters={"rope_type": "linear", "factor": 2.0})
    assert context_length(loaded(stretched, SCALINGS["linear"]).model) == 2 * TRAINED


def test_only_layers_that_see_the_whole_text_are_scaled(folders: Folders) -> None:
    base = loaded(folders("gemma3"), YARN)
    found = base.model.config.get_text_config().rope_parameters
    assert found["full_attention"].items() >= YARN.items()
    assert found["sliding_attention"]["rope_type"] == "default"
    assert context_length(base.model) == 4 * TRAINED


def test_a_factor_is_found_by_what_must_fit(llama: Path) -> None:
    base = loaded(llama, {"rope_type": "yarn", "max_length": 100})
    assert base.rope_scaling == {"rope_type": "yarn", "factor": 3.0, FROM: TRAINED}
    asked = {"rope_type": "linear", "max_length": 96}
    skeleton = load_skeleton(str(llama), rope_scaling=asked)
    shallow = load_shallow(str(llama), 1, torch.float32, DEVICE, rope_scaling=asked)
    assert context_length(skeleton) == context_length(shallow) == 96


@pytest.mark.parametrize(
    ("name", "scaling", "said"),
    [
        ("gpt2", YARN, "gpt2 is a gpt2 model, whose configuration has no rotary positions"),
        ("t5", YARN, "t5 is a t5 model, whose configuration has no rotary positions"),
        ("gemma4", YARN, "gemma4 has rotary positions of type proportional, in place of which"),
        ("llama", {"rope_type": "yarn", "max_length": 48}, "train.max_length = 48 fits in the 48"),
        (
            "llama",
            {**SCALINGS["longrope"], "long_factor": [1.0]},
            "long_factor has 1 numbers; llama needs 4",
        ),
    ],
)
def test_what_cannot_be_scaled_is_one_sentence(
    folders: Folders, name: str, scaling: dict[str, Any], said: str
) -> None:
    folder = folders(name)
    for load in (loaded, lambda one, own: load_skeleton(str(one), rope_scaling=own)):
        with pytest.raises(InputError) as caught:
            load(folder, scaling)
        assert str(caught.value).startswith("model.rope_scaling: ")
        assert said in str(caught.value)


def test_positions_that_a_model_does_not_read_are_not_scaled(llama: Path, tmp_path: Path) -> None:
    """Falcon with linear biases has rotary embeddings, which nothing reads."""
    from transformers import FalconConfig, FalconForCausalLM

    folder = shutil.copytree(llama, tmp_path / "falcon")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    FalconForCausalLM(FalconConfig(vocab_size=300, alibi=True, **sizes)).save_pretrained(folder)
    said = "model.rope_scaling: falcon does not take it: a FalconForCausalLM of transformers"
    with pytest.raises(InputError, match=said):
        loaded(folder, YARN)

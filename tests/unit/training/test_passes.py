"""Documents in passes are read as they are alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version

from brulee import progress
from brulee.data.encoding import Encoded, Encoder
from brulee.data.template import Rendered
from brulee.inference.engine import Engine
from brulee.methods import build_method
from brulee.models.loading import Base
from brulee.models.rope import changes_beyond
from brulee.recipe import MethodSpec
from brulee.training.passes import Passes, within

SCALED: dict[str, dict[str, Any]] = {
    "dynamic": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0] * 4,
        "long_factor": [8.0] * 4,
        "original_max_position_embeddings": 32,
        "factor": 4.0,
    },
}


# With transformers 5.12 `dynamic` angles, once lengthened, stay so (in its own forward too).
NEVER_SHORTENED = Version(transformers.__version__) < Version("5.13")
KINDS = [
    pytest.param("dynamic", marks=pytest.mark.skipif(NEVER_SHORTENED, reason="transformers 5.12")),
    "longrope",
]


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_changes_the_angles_of_its_pass_has_a_pass_to_itself(
    make_base: Callable[..., Base], kind: str
) -> None:
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 32}
    base = make_base("llama", rope_parameters=SCALED[kind], **sizes)
    for parameter in base.model.parameters():
        parameter.data *= 4  # so that angles matter
    assert changes_beyond(base.model) == 32
    passes = Passes(base, most=4)
    short, longer = Encoded.ending(range(1, 20), 8), Encoded.ending(range(2, 80), 8)
    documents = [short, longer, short]
    assert [len(part) for part in passes.parts(documents)] == [1, 2]
    with passes.boundary():
        # In this order: once lengthened, `dynamic` angles are not shortened before a short one.
        alone = [passes.total_loss([document])[0] for document in (short, longer)]
        together, learned = passes.total_loss(documents)
    assert learned == 24
    assert together == pytest.approx(2 * alone[0] + alone[1], rel=1e-5)


@pytest.mark.parametrize("method", ["full", "selective"])
def test_losses_are_those_of_weights_that_a_step_has_changed(
    make_base: Callable[..., Base], method: str
) -> None:
    """Converted copies of trained weights, as for bf16, are not those of the step before."""
    base = make_base("llama")
    attached = build_method(MethodSpec(name=method)).attach(base.model)
    documents = [Encoded.ending(range(start, start + 12), 6) for start in (3, 20, 50)]
    passes, unused = (Passes(base, most=4, autocast=True) for _ in range(2))
    with passes.boundary():
        before = passes.total_loss(documents)
        with torch.no_grad():
            for parameter in attached.parameters():
                parameter.add_(torch.randn(parameter.shape), alpha=0.2)
        afresh = unused.total_loss(documents)
        assert passes.total_loss(documents) == afresh != before
        assert sum(6 * loss.item() for loss in passes.each(documents)) == pytest.approx(afresh[0])


def test_every_document_is_in_one_pass_whatever_its_length(make_base: Callable[..., Base]) -> None:
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 32}
    passes = Passes(make_base("llama", rope_parameters=SCALED["longrope"], **sizes), most=4)
    documents = [Encoded.ending(range(1, 1 + length), 2) for length in range(30, 36)]
    parts = [[len(d.ids) for d in part] for part in passes.parts(documents)]
    assert parts == [[33], [34], [35], [30, 31, 32]]


def test_positions_of_a_prefix_count_too(make_base: Callable[..., Base]) -> None:
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 32}
    base = make_base("llama", rope_parameters=SCALED["longrope"], **sizes)
    build_method(MethodSpec(name="prefix", tokens=5)).attach(base.model)
    passes = Passes(base, most=8)
    documents = [Encoded.ending(range(1, 1 + length), 2) for length in (27, 20, 28)]
    assert [[len(d.ids) for d in part] for part in passes.parts(documents)] == [[28], [27, 20]]
    alone = [passes.total_loss([document])[0] for document in documents]
    assert passes.total_loss(documents)[0] == pytest.approx(sum(alone), rel=1e-5)


def test_a_longer_document_leaves_no_angles_behind(make_base: Callable[..., Base]) -> None:
    """`dynamic` angles, once lengthened, stay so for any document beyond the original length."""
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 32}
    base = make_base("llama", rope_parameters=SCALED["dynamic"], **sizes)
    passes = Passes(base, most=8)
    documents = [Encoded.ending(range(1, 1 + length), 8) for length in (32, 40, 90)]
    with passes.boundary():
        before = [passes.total_loss([document])[0] for document in documents]
        after = [passes.total_loss([document])[0] for document in reversed(documents)]
    assert after[::-1] == pytest.approx(before, rel=1e-6)


def test_passes_are_as_few_and_as_even_as_they_can_be() -> None:
    documents = [Encoded.ending(range(1, 7), 2)] * 4 + [Encoded.ending(range(1, 21), 2)]
    parts = [[len(d.ids) for d in part] for part in within(documents, 8, 20)]
    assert parts == [[6, 6], [6, 6], [20]], "three, as 18 + 6 + 20 are, of which the largest is 20"
    even = [[len(d.ids) for d in part] for part in within(documents[:4], 8, 20)]
    assert even == [[6, 6], [6, 6]], "and not three with one left over"


def test_other_models_have_no_such_length(make_base: Callable[..., Base]) -> None:
    assert changes_beyond(make_base("llama").model) is None
    assert changes_beyond(make_base("gpt2").model) is None
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}
    assert changes_beyond(make_base("llama", rope_parameters=yarn).model) is None


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("begins", [False, True])
def test_plain_texts_in_a_pass_have_the_loss_that_the_model_gives_each_alone(
    make_base: Callable[..., Base], make_tokenizer: Callable[..., Any], name: str, begins: bool
) -> None:
    base = make_base(name)
    encoder = Encoder(make_tokenizer(begins=begins))
    texts = ["The guest asked.", "Which room?\n\nThe one that was not ready.", "No."]
    plain = [Rendered("", text, None, plain=True) for text in texts]
    documents = encoder.encode_all(plain)
    expected = 0.0
    for document in documents:
        ids = torch.tensor([document.ids])
        mean = base.model(input_ids=ids, labels=ids).loss  # of all tokens but the first
        expected += mean.item() * (len(document.ids) - 1)
    passes = Passes(base, most=4)
    with passes.boundary():
        total, learned = passes.total_loss(documents)
    assert learned == sum(len(document.ids) - 1 for document in documents)
    assert total == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "work",
    [lambda base: Passes(base, most=4), lambda base: Engine(base.model, [], 0).way],
    ids=["training", "generation"],
)
def test_that_a_model_is_tried_is_shown(
    make_base: Callable[..., Base],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    work: Callable[[Base], Any],
) -> None:
    """It takes minutes where reference code pads a few tokens to hundreds (Granite 4 on a CPU)."""
    monkeypatch.setattr(progress, "_enabled", True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    work(make_base("mamba", num_hidden_layers=1))
    assert "Trying the model on a few tokens ..." in capsys.readouterr().err

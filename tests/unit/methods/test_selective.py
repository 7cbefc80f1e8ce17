"""Selective tuning: what is chosen, what a mask costs, which base its values belong to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from brulee.data.batching import pack
from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods.adapter_files import CONFIG, OURS
from brulee.methods.base import Attached
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.selective import Selective, SelectiveOptions
from brulee.methods.selective_masks import highest
from brulee.methods.selective_tuned import Sparse
from brulee.methods.storing import save_adapter
from brulee.models.attention import packed
from brulee.models.head import CompletionLoss
from brulee.models.loading import Base
from brulee.recipe import TrainSpec
from brulee.training.documents import Document
from brulee.training.trainer import Trainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MakeModel = Callable[..., "PreTrainedModel"]
MakeBase = Callable[..., Base]
IDS = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(0))


def _selective(**options: Any) -> Selective:
    return Selective(SelectiveOptions.model_validate(options))


def _names(attached: Attached) -> set[str]:
    config = attached.config()
    return {*config["whole"], *config["sparse"]}


def _loss(model: PreTrainedModel, ids: torch.Tensor = IDS) -> torch.Tensor:
    more = {"decoder_input_ids": ids.flip(0)} if model.config.is_encoder_decoder else {}
    logits = model(input_ids=ids, **more).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), ids.flip(1).flatten())


@pytest.mark.parametrize("name", ["phi", "gpt2", "gpt-neox", "bart"])
def test_bias_trains_every_bias_and_nothing_else(make_model: MakeModel, name: str) -> None:
    model = make_model(name)
    expected = {n for n, _ in model.named_parameters() if n.rsplit(".", 1)[-1] == "bias"}
    attached = _selective(train="bias").attach(model)
    assert _names(attached) == expected
    assert all(p.ndim == 1 for group in attached.groups() for p in group.parameters)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_model_without_biases_is_told_what_it_has(make_model: MakeModel, name: str) -> None:
    norms = {"llama": 5, "t5": 12}[name]
    with pytest.raises(
        InputError, match=rf"has no biases; it has {norms} norms: the closest choice is train=norms"
    ):
        _selective(train="bias").attach(make_model(name))


def test_a_model_without_biases_and_norms_is_told_of_names(make_model: MakeModel) -> None:
    with pytest.raises(InputError, match="has no biases; train=parameters takes any by name"):
        _selective(train="bias").attach(make_model("dory"))


# Two layers of 32: llama has two norms a layer and one at the end, qwen3 two more of a head's 8,
# gpt2's and bart's have biases; bart has 2 + 3 in its layers and two on its embeddings.
NORMS = {"llama": 5 * 32, "qwen3": 5 * 32 + 4 * 8, "gpt2": 5 * 64, "t5": 12 * 32, "bart": 12 * 64}


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_counted_in_closed_form(make_model: MakeModel, name: str) -> None:
    assert _selective(train="norms").attach(make_model(name)).trainable() == NORMS[name]


def test_layers_are_taken_from_the_end_or_by_index(make_model: MakeModel) -> None:
    model = make_model("llama", num_hidden_layers=3)
    layer = sum(p.numel() for p in model.model.layers[0].parameters())
    last = _selective(train="layers", layers={"last": 2}).attach(model)
    assert last.trainable() == 2 * layer
    assert {n.split(".")[2] for n in _names(last)} == {"1", "2"}
    last.detach()
    assert {
        n.split(".")[2] for n in _names(_selective(train="layers", layers=[0]).attach(model))
    } == {"0"}


def test_layers_of_an_encoder_decoder_are_those_of_both_stacks(make_model: MakeModel) -> None:
    names = _names(_selective(train="layers", layers=[1]).attach(make_model("t5")))
    assert {n.rsplit(".layer.", 1)[0] for n in names} == {"encoder.block.1", "decoder.block.1"}


@pytest.mark.parametrize("layers", [{"last": 3}, [2], [-1]])
def test_layers_that_are_not_there(make_model: MakeModel, layers: Any) -> None:
    with pytest.raises(InputError, match="which has 2 layers, counted 0 to 1"):
        _selective(train="layers", layers=layers).attach(make_model("llama"))


def test_patterns_match_whole_names_and_their_ends(make_model: MakeModel) -> None:
    model = make_model("llama")
    for patterns in (
        *(["q_proj.weight"], ["model.layers.*.q_proj.weight"]),
        [r"re:model\.layers\.[01]\..*q_proj\.weight"],
    ):
        attached = _selective(train="parameters", parameters=patterns).attach(model)
        assert _names(attached) == {f"model.layers.{i}.self_attn.q_proj.weight" for i in (0, 1)}
        attached.detach()


def test_a_pattern_without_a_match_names_near_ones(make_model: MakeModel) -> None:
    with pytest.raises(InputError, match=r"no parameter matches 'q_prj.weight'.*q_proj\.weight"):
        _selective(train="parameters", parameters=["q_prj.weight"]).attach(make_model("llama"))
    with pytest.raises(InputError, match=r"no parameter matches 're:q_proj\.weight'"):
        _selective(train="parameters", parameters=["re:q_proj.weight"]).attach(make_model("llama"))
    with pytest.raises(InputError, match=r"method.parameters: 're:\(' is not a regular expression"):
        _selective(train="parameters", parameters=["re:("]).attach(make_model("llama"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": "norms", "layers": [0]}, "method.layers is not read with train=norms"),
        ({"train": "layers"}, "train=layers needs method.layers, such as {last: 4}"),
        ({"train": "parameters"}, "needs method.parameters"),
        ({"train": "bias", "density": 0.1}, "method.density is not read with train=bias"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        _selective(**options)


def test_a_tied_head_moves_with_the_embedding(make_model: MakeModel) -> None:
    model = make_model("qwen3")
    attached = _selective(train="embeddings").attach(model)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert attached.trainable() == 300 * 32
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [
        "model.embed_tokens.weight_tuned"
    ]


# ---------------------------------------------------------------- masks


def _gradients(
    model: PreTrainedModel, batches: list[torch.Tensor]
) -> list[dict[str, torch.Tensor]]:
    found = []
    for ids in batches:
        model.zero_grad()
        _loss(model, ids).backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    model.zero_grad()
    return found


@pytest.mark.parametrize("mask", ["fisher", "sam"])
def test_gradient_masks_are_the_published_scores(make_model: MakeModel, mask: str) -> None:
    model = make_model("llama")
    batches = list(torch.randint(5, 300, (3, 2, 12), generator=torch.Generator().manual_seed(3)))
    gradients = _gradients(model, batches)
    method = _selective(train="sparse", mask=mask, density=0.02)
    assert method.documents() == 64
    frozen = next(model.parameters()).requires_grad_(False)
    found = method.prepare(model, (_loss(model, ids) for ids in batches))
    assert all(p.grad is None for p in model.parameters())
    assert not frozen.requires_grad
    assert model.lm_head.weight.requires_grad
    for name, index_K in found.items():
        each = torch.stack([g[name].flatten() for g in gradients])
        score = each.square().sum(0) if mask == "fisher" else each.sum(0).square()
        assert len(index_K) == int(0.02 * score.numel())
        rest = torch.ones(score.numel(), dtype=torch.bool)
        rest[index_K] = False
        assert score[index_K].min() >= score[rest].max() * (1 - 1e-5), name
    method.adopt(found)
    attached = method.attach(model)
    assert torch.equal(attached.tensors()["lm_head.weight.indices"].long(), found["lm_head.weight"])


def test_fisher_and_sam_differ_where_gradients_cancel(make_model: MakeModel) -> None:
    model = make_model("llama")
    opposite = [_loss(model), -_loss(model)]
    method = _selective(train="sparse", mask="sam", density=0.01, parameters=["*"])
    cancelled = method.prepare(model, opposite)
    fisher = _selective(train="sparse", mask="fisher", density=0.01)
    opposite = [_loss(model), -_loss(model)]
    assert not torch.equal(
        cancelled["lm_head.weight"], fisher.prepare(model, opposite)["lm_head.weight"]
    )


def test_masks_are_chosen_from_packed_documents_through_the_fused_head(make_base: MakeBase) -> None:
    base = make_base("qwen3")
    loss = CompletionLoss(base.model)
    assert loss.fused
    documents = [Encoded.ending(range(10 * i, 10 * i + 20), 8) for i in range(1, 4)]
    with packed(base.model):
        losses = (loss(pack([d])) / d.learned for d in documents)
        method = _selective(train="sparse", mask="fisher", density=0.01)
        method.adopt(method.prepare(base.model, losses))
    assert CompletionLoss(base.model).fused, "the mask left a trace on the head"
    method.attach(base.model)
    assert CompletionLoss(base.model).fused, "a sparse head is still a plain linear map"


def test_a_mask_needs_documents_and_finite_losses(make_model: MakeModel) -> None:
    model = make_model("llama")
    method = _selective(train="sparse", mask="fisher")
    with pytest.raises(
        InputError, match="mask=fisher is chosen from documents, and none was shown"
    ):
        method.attach(model)
    with pytest.raises(InputError, match="no document"):
        method.prepare(model, [])
    with pytest.raises(InputError, match="the loss of document 2 is nan"):
        method.prepare(model, [_loss(model), _loss(model) * torch.nan])
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_of_equal_scores_the_first_are_taken() -> None:
    score = torch.tensor([[1.0, 3.0, 1.0], [1.0, 0.0, 1.0]])
    assert highest(score, 3).tolist() == [0, 1, 2]
    assert highest(score, 6).tolist() == list(range(6))


def test_a_density_that_leaves_nothing(make_model: MakeModel) -> None:
    method = _selective(train="sparse", mask="magnitude", density=1e-5)
    with pytest.raises(InputError, match="leaves nothing to train: the largest parameter has 9600"):
        method.attach(make_model("llama"))


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "t5"])
def test_a_sparse_gradient_is_the_dense_one_at_the_mask(make_model: MakeModel, name: str) -> None:
    model = make_model(name)
    (dense,) = _gradients(model, [IDS])
    attached = _selective(train="sparse", mask="magnitude", density=0.05).attach(model)
    _loss(model).backward()
    tensors = attached.tensors()
    got = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    for key, grad in got.items():
        wanted = dense[key.removesuffix("_tuned")].flatten()
        index_K = tensors[key.replace("_tuned", ".indices")].long()
        torch.testing.assert_close(grad, wanted[index_K], atol=1e-6, rtol=1e-5)


def test_a_sparse_mask_costs_no_dense_state(make_model: MakeModel) -> None:
    model = make_model("llama")
    memory = {p.untyped_storage().data_ptr() for p in model.parameters()}
    attached = _selective(train="sparse", mask="magnitude", density=0.01).attach(model)
    count = sum(int(p.numel() * 0.01) for n, p in model.named_parameters() if "_tuned" not in n)
    assert attached.trainable() == count
    parameters = [p for group in attached.groups() for p in group.parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, fused=True)
    for _ in range(2):
        _loss(model).backward()
        optimizer.step()
        optimizer.zero_grad()
    state = [t.numel() for s in optimizer.state.values() for t in s.values() if t.numel() > 1]
    assert sum(state) <= 2 * count
    assert model.lm_head.weight.untyped_storage().data_ptr() in memory, "the weight was copied"


def test_a_fused_optimizer_s_steps_reach_the_model(make_model: MakeModel) -> None:
    """It moves parameters without raising their version, so that nothing else tells."""
    model = make_model("llama")
    attached = _selective(train="sparse", mask="magnitude", density=0.05).attach(model)
    parameters = [p for group in attached.groups() for p in group.parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, fused=True)
    losses = []
    for _ in range(5):
        loss = _loss(model)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.1
    weight, stored = model.lm_head.weight.detach(), attached.tensors()
    model.model(input_ids=IDS)  # the head is read and not called, as the fused loss does
    index_K = stored["lm_head.weight.indices"].long()
    assert torch.equal(weight.flatten()[index_K], stored["lm_head.weight.values"])


def test_an_interrupted_training_goes_on_to_the_same_values(
    make_base: MakeBase, tmp_path: Path
) -> None:
    document = Encoded.ending(range(5, 45), 20)
    found = []
    for folder, epochs in (("whole", [4.0]), ("parts", [2.0, 4.0])):
        for until in epochs:
            base = make_base("llama")
            attached = _selective(train="sparse", mask="magnitude", density=0.02).attach(base.model)
            spec = TrainSpec(batch_size=1, epochs=until, schedule="constant", warmup=0.0)
            (tmp_path / folder).mkdir(exist_ok=True)
            trainer = Trainer(
                base,
                attached,
                lambda i: Document(str(i), document),
                1,
                spec,
                learning_rate=1e-2,
                folder=tmp_path / folder,
            )
            trainer.train()
        with torch.no_grad():
            found.append((attached.tensors(), base.model(input_ids=IDS).logits))
    (tensors, logits), (resumed, logits_resumed) = found
    assert torch.equal(logits, logits_resumed)
    assert all(torch.equal(resumed[key], tensor) for key, tensor in tensors.items())


# ---------------------------------------------------------------- bases


@pytest.mark.parametrize("options", [{"train": "norms"}, {"train": "sparse", "mask": "magnitude"}])
def test_small_steps_are_not_lost_on_a_base_in_bfloat16(
    make_model: MakeModel, options: dict[str, Any]
) -> None:
    model = make_model("llama").to(torch.bfloat16)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    attached = _selective(**options).attach(model)
    assert model.dtype == torch.bfloat16
    _loss(model).backward()
    parameters = [p for group in attached.groups() for p in group.parameters]
    start = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for parameter in parameters:
            assert parameter.dtype == parameter.grad.dtype == torch.float32
            parameter += 1e-5
    _loss(model).backward()
    for parameter, old in zip(parameters, start, strict=True):
        torch.testing.assert_close(
            parameter.detach() - old, torch.full_like(old, 1e-5), rtol=0.1, atol=1e-7
        )
    attached.detach()
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


@pytest.mark.parametrize("options", [{"train": "norms"}, {"train": "sparse", "mask": "magnitude"}])
def test_another_base_is_refused_even_without_our_record(
    make_base: MakeBase, tmp_path: Path, options: dict[str, Any]
) -> None:
    base, method = make_base("llama"), _selective(**options)
    with torch.no_grad():
        for parameter in base.model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    attached = method.attach(base.model)
    save_adapter(tmp_path, attached, base, "tiny", "a card", {})
    (tmp_path / OURS).unlink()
    other = make_base("llama")
    before = {n: p.detach().clone() for n, p in other.model.named_parameters()}
    with pytest.raises(InputError, match="made for another base"):
        attach_adapter(open_adapter(tmp_path), other)
    assert all(torch.equal(p, before[n]) for n, p in other.model.named_parameters())
    attached.detach()
    base.model.to(torch.bfloat16)  # the same base, in another precision
    attach_adapter(open_adapter(tmp_path), base)


@pytest.mark.parametrize(
    "spoilt", [[3, 2], [5, 5], [-1, 4], [0, 10**6]], ids=["order", "twice", "negative", "beyond"]
)
def test_positions_that_are_no_positions(make_model: MakeModel, spoilt: list[int]) -> None:
    method = _selective(train="sparse", mask="magnitude", parameters=["lm_head.weight"])
    attached = method.attach(make_model("llama"))
    tensors = attached.tensors()
    tensors["lm_head.weight.indices"][-2:] = torch.tensor(spoilt, dtype=torch.int32)
    with pytest.raises(InputError, match=r"'lm_head\.weight\.indices' must hold whole numbers"):
        attached.load(tensors)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"whole": ["model.nom.weight"]}, "this model has no parameter 'model.nom.weight'"),
        (
            {"sparse": {"lm_head.weight": 10**9}},
            "sparse holds 1000000000 values of 'lm_head.weight'",
        ),
        ({"sparse": {"lm_head.weight": 0}}, "valid: 1 to "),
        ({"whole": ["model.norm.weight"] * 2}, "'model.norm.weight' stands in whole and sparse 2"),
        ({"sparse": {"model.norm.weight": 3}}, "'model.norm.weight' stands in whole and sparse 2"),
        ({"whole": [], "sparse": {}}, "whole and sparse are both empty"),
        ({"base_values": 3}, "not selective tuning: base_values = 3 is not valid: it should be a"),
        ({"train": "everything"}, "not selective tuning: train = 'everything' is not valid"),
    ],
)
def test_a_spoilt_configuration(
    make_base: MakeBase, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    base = make_base("llama")
    save_adapter(tmp_path, _selective().attach(base.model), base, "tiny", "a card", {})
    (tmp_path / OURS).unlink()  # its digest would already say that the settings differ
    file = tmp_path / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    other = make_base("llama")
    before = {n: p.clone() for n, p in other.model.named_parameters()}
    with pytest.raises(InputError, match=said) as refusal:
        attach_adapter(open_adapter(tmp_path), other)
    assert str(refusal.value).startswith(f"{file}: ")
    assert all(torch.equal(p, before[n]) for n, p in other.model.named_parameters())


def test_the_recommended_rate_follows_what_is_trained() -> None:
    assert _selective(train="norms").learning_rate == 3e-3
    assert _selective(train="layers", layers=[0]).learning_rate == 1e-4


def test_documents_are_read_for_masks_by_gradient_alone() -> None:
    assert _selective(train="sparse", mask="sam").documents() == 64
    assert _selective(train="sparse", mask="magnitude").documents() == 0
    assert _selective(train="norms").documents() == 0


def test_values_are_chosen_alike_however_a_tensor_lies() -> None:
    draw = torch.Generator().manual_seed(0)
    values, index = torch.randn(6, 8, generator=draw), torch.tensor([0, 9, 13, 47])
    found = []
    for lies in (values.clone(), values.t().contiguous().t()):
        parameter = torch.nn.Parameter(lies)
        sparse = Sparse("w", parameter, [], index)
        with torch.no_grad():
            sparse.parameter += 1
        sparse.write()
        written = parameter.detach().clone()
        sparse.off()
        assert torch.equal(parameter, values)
        gradients = [sparse.gradient(g) for g in (values, values.t().contiguous().t())]
        found.append((written, *gradients))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert torch.equal(found[0][0].view(-1)[index], values.view(-1)[index] + 1)
    assert int((found[0][0] != values).sum()) == 4


def test_where_all_lie_flat_no_coordinates_are_made() -> None:
    parameter = torch.nn.Parameter(torch.zeros(6, 8))
    sparse = Sparse("w", parameter, [], torch.tensor([3]))
    sparse.write()
    sparse.gradient(torch.ones(6, 8))
    assert sparse._coordinates is None  # a served mask is put on and off between two tokens

"""Rows of tokens that are trained alongside a method: on the fused path, on disk, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods import Attached, build_method
from brulee.methods.adapter_files import CONFIG
from brulee.methods.alongside import Alongside
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.storing import save_adapter
from brulee.models.added_tokens import NewToken
from brulee.models.loading import Base, load_base
from brulee.recipe import MethodSpec
from brulee.training.passes import Passes

MakeBase = Callable[..., Base]
IDS = (299, 7, 100)  # in no order
DOCUMENT = Encoded.ending((7, 8, 100, 9, 299, 100, 30, 31, 7, 2), 6)
CPU = torch.device("cpu")


def _attached(
    base: Base, method: str = "lora", ids: tuple[int, ...] = IDS, **more: Any
) -> Attached:
    attached = Alongside(ids).attach(build_method(MethodSpec(name=method, **more)), base.model)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
    return attached


def _logits(base: Base) -> torch.Tensor:
    ids = torch.tensor([[*DOCUMENT.ids, *IDS]])
    more = {"decoder_input_ids": ids} if base.kind == "seq2seq" else {}
    with torch.no_grad():
        logits: torch.Tensor = base.model(input_ids=ids, **more).logits
    return logits


def _plain_loss(base: Base) -> torch.Tensor:
    """By transformers' own forward."""
    ids, learned = torch.tensor([DOCUMENT.ids]), DOCUMENT.learned
    targets = ids[0, -learned:]
    if base.kind == "seq2seq":
        start = base.model.config.decoder_start_token_id
        decoder = torch.cat([torch.tensor([start]), targets[:-1]])[None]
        logits = base.model(input_ids=ids[:, :-learned], decoder_input_ids=decoder).logits[0]
    else:
        logits = base.model(input_ids=ids).logits[0, -learned - 1 : -1]
    return F.cross_entropy(logits, targets)


@pytest.mark.parametrize(
    "name", ["llama", "qwen3", "gemma", "phi", "gpt2", "t5", "t5-gated", "bart"]
)
def test_the_fused_path_has_the_models_own_loss_and_gradients(
    make_base: MakeBase, name: str
) -> None:
    base = make_base(name)
    attached = _attached(base)
    parameters = [p for group in attached.groups() for p in group.parameters]
    passes = Passes(base, most=1)
    assert passes.fused, "the slow path is taken"
    with passes.boundary():
        loss, _ = passes.backward([DOCUMENT])
    found = [p.grad for p in parameters]
    expected = _plain_loss(base)
    torch.testing.assert_close(loss, expected.detach(), atol=1e-5, rtol=1e-5)
    theirs = torch.autograd.grad(expected, parameters)
    for ours, own in zip(found, theirs, strict=True):
        assert ours is not None
        torch.testing.assert_close(ours, own, atol=2e-5, rtol=1e-4)
    rows = attached.groups()[-1]
    assert rows.name == "tokens"
    assert all(p.grad is not None and p.grad.abs().sum(1).min() > 0 for p in rows.parameters)


@pytest.mark.parametrize("method", ["ia3", "prompt", "prefix"])
def test_pefts_methods_without_rows_are_stored_under_a_type_that_peft_refuses(
    make_base: MakeBase, tmp_path: Path, method: str
) -> None:
    base = make_base("llama")
    save_adapter(tmp_path, _attached(base, method), base, "tiny", "", {})
    kind = json.loads((tmp_path / CONFIG).read_text())["peft_type"]
    assert kind.startswith("BRULEE_")
    assert open_adapter(tmp_path).method().name == method
    peft = pytest.importorskip("peft")
    with pytest.raises((KeyError, ValueError), match=kind):
        peft.PeftConfig.from_pretrained(str(tmp_path))


def test_a_module_inside_another_that_is_trained_whole_has_one_copy(
    make_base: MakeBase, tmp_path: Path
) -> None:
    base = make_base("llama")
    plain, modules = _logits(base), [type(m) for m in base.model.modules()]
    names = ("mlp", "down_proj", "layers.1")
    method = build_method(MethodSpec(name="lora", target=["q_proj"], layers=[0]))
    attached = Alongside(whole=names).attach(method, base.model)
    own = [p for group in attached.groups() for p in group.parameters]
    layer = sum(
        p.numel() for p in make_base("llama").model.get_submodule("model.layers.1").parameters()
    )
    assert sum(p.numel() for p in own[2:]) == layer + 3 * 32 * 48
    base.model(input_ids=torch.tensor([DOCUMENT.ids])).logits.sum().backward()
    assert all(p.grad is not None for p in own), "a copy is trained that nothing computes with"
    save_adapter(tmp_path, attached, base, "tiny", "", {})
    attach_adapter(open_adapter(tmp_path), make_base("llama"))
    attached.detach()
    assert torch.equal(_logits(base), plain)
    assert [type(m) for m in base.model.modules()] == modules


def test_a_table_inside_a_module_that_is_trained_whole_has_no_rows_of_its_own(
    make_base: MakeBase, tmp_path: Path
) -> None:
    base = make_base("bart")
    method = build_method(MethodSpec(name="lora", target="re:.*decoder.*q_proj"))
    attached = Alongside(IDS, whole=("encoder",)).attach(method, base.model)
    own = [p for group in attached.groups() for p in group.parameters]
    ids = torch.tensor([DOCUMENT.ids])
    base.model(input_ids=ids, decoder_input_ids=ids).logits.sum().backward()
    assert all(p.grad is not None for p in own)
    with torch.no_grad():
        for parameter in own:
            parameter.add_(0.01)
    expected = _logits(base)
    save_adapter(tmp_path, attached, base, "tiny", "", {})
    again = make_base("bart")
    attach_adapter(open_adapter(tmp_path), again)
    assert torch.equal(_logits(again), expected)
    encoder = base.model.get_encoder()
    assert type(encoder.embed_tokens) is type(make_base("bart").model.get_encoder().embed_tokens)


@pytest.mark.parametrize(
    ("method", "whole", "said"),
    [
        ({"name": "bottleneck"}, "layers.0", "'model.layers.0' is changed by the method itself"),
        ({"name": "lora"}, "self_attn", "'model.layers.0.self_attn' is changed by the method"),
        ({"name": "selective", "train": "norms"}, "norm", "'model.norm' is changed by the method"),
        ({"name": "lora"}, "nrom", "no module is called 'nrom'; did you mean 'norm'"),
        ({"name": "lora"}, "act_fn", "no module is called 'act_fn'; valid: down_proj, embed"),
    ],
)
def test_a_module_that_cannot_be_trained_whole_is_told_and_leaves_the_model(
    make_base: MakeBase, method: dict[str, Any], whole: str, said: str
) -> None:
    base = make_base("llama")
    plain, modules = _logits(base), [type(m) for m in base.model.modules()]
    with pytest.raises(InputError, match=said):
        Alongside(whole=(whole,)).attach(build_method(MethodSpec(**method)), base.model)
    assert [type(m) for m in base.model.modules()] == modules
    assert torch.equal(_logits(base), plain)


def test_what_cannot_be_trained_alongside_is_refused_and_leaves_the_model(
    make_base: MakeBase,
) -> None:
    base = make_base("llama")
    plain, modules = _logits(base), [type(m) for m in base.model.modules()]
    for ids, more, said in (
        ((300,), {}, "no token 300; the model has rows for 300"),
        ((7, 7), {}, "names a token twice"),
        ((7,), {"target": ["embeddings"]}, "'model.embed_tokens' has rows of tokens"),
        ((7,), {"target": ["lm_head"]}, "'lm_head' has rows of tokens"),
    ):
        with pytest.raises(InputError, match=said):
            _attached(base, ids=ids, **more)
        assert [type(m) for m in base.model.modules()] == modules
        assert torch.equal(_logits(base), plain)
        assert all(p.requires_grad for p in base.model.parameters())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([-1], "should list token ids"),
        ({"embed_tokens": "7"}, "should list token ids"),
        ({"embed": [7]}, "no table is called 'embed'; valid: model.embed_tokens, lm_head"),
    ],
)
def test_rows_in_a_file_that_name_nothing_are_refused(
    make_base: MakeBase, tmp_path: Path, rows: Any, said: str
) -> None:
    base = make_base("llama")
    save_adapter(tmp_path, _attached(base), base, "tiny", "", {})
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**config, "trainable_token_indices": rows}))
    (tmp_path / "brulee.json").unlink()
    with pytest.raises(InputError, match=said):
        attach_adapter(open_adapter(tmp_path), make_base("llama"))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("tied", [True, False])
def test_pefts_adapter_of_a_larger_vocabulary_is_loaded_with_its_tokens(
    make_base: MakeBase, tmp_path: Path, tied: bool
) -> None:
    """PEFT stores the frozen tables too, and a tied head's rows twice, where these were resized."""
    peft = pytest.importorskip("peft")
    make, folder = (lambda: make_base("llama", tie_word_embeddings=tied)), tmp_path / "base"
    base = make()
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    base.tokenizer.add_tokens(["<note>", "<end>"])
    base.model.resize_token_embeddings(302, pad_to_multiple_of=8)
    rows: Any = [300, 301, 7]
    rows = rows if tied else {"embed_tokens": rows, "lm_head": rows}
    config = peft.LoraConfig(
        target_modules=["q_proj"], trainable_token_indices=rows, task_type="CAUSAL_LM"
    )
    theirs = peft.get_peft_model(base.model, config).eval()
    for parameter in (p for p in theirs.parameters() if p.requires_grad):
        parameter.data += 0.1
    theirs.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    base.tokenizer.save_pretrained(tmp_path / "adapter")
    adapter = open_adapter(tmp_path / "adapter")
    again = load_base(str(folder), torch.float32, CPU, **adapter.loading)
    assert [(t.text, t.id) for t in again.added] == [("<note>", 300), ("<end>", 301)]
    attach_adapter(adapter, again)
    ids = torch.tensor([[5, 300, 7, 301, 9]])
    with torch.no_grad():
        expected = theirs(input_ids=ids).logits[..., :302]
        torch.testing.assert_close(
            again.model(input_ids=ids).logits, expected, atol=1e-5, rtol=1e-5
        )
    other = load_base(str(folder), torch.float32, CPU, **adapter.loading)
    with torch.no_grad():
        other.model.get_input_embeddings().weight[50] += 1
    with pytest.raises(InputError, match="is not that of this base"):
        attach_adapter(adapter, other)


def test_an_adapter_and_a_base_of_different_vocabularies_are_told_apart(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    def loaded(*texts: str) -> Base:
        tokens = [NewToken(text) for text in texts]
        return load_base(str(tiny_model_folder), torch.float32, CPU, tokens=tokens)

    base = loaded("<a>", "<b>")
    save_adapter(tmp_path / "ab", _attached(base, ids=(300, 301)), base, "tiny", "", {})
    plain = loaded()
    save_adapter(tmp_path / "none", _attached(plain, ids=(7,)), plain, "tiny", "", {})
    for name, other, said in (
        ("ab", loaded(), "trained with '<a>', '<b>' added, .* loaded with no token added"),
        ("ab", loaded("<b>", "<a>"), "trained with '<a>', '<b>' added"),
        ("none", loaded("<a>"), "trained with no token added, .* loaded with '<a>' added"),
    ):
        with pytest.raises(InputError, match=said):
            attach_adapter(open_adapter(tmp_path / name), other)
    attach_adapter(open_adapter(tmp_path / "ab"), loaded("<a>", "<b>"))

"""Soft prompts and prefixes: every document has its own, however it is batched or generated."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    MambaConfig,
    ModernBertDecoderConfig,
    PretrainedConfig,
    RecurrentGemmaConfig,
)

from brulee.data.batching import pack, pad, pad_pairs
from brulee.data.encoding import Encoded, Encoder
from brulee.data.instruction import instruction
from brulee.data.template import Template
from brulee.errors import InputError
from brulee.inference.engine import Engine
from brulee.inference.sampling import Sampling
from brulee.inference.session import open_engine
from brulee.methods import Attached, Method, build_method
from brulee.models.attention import before_each, packed, packs_exactly
from brulee.models.head import CompletionLoss
from brulee.models.loading import Base
from brulee.recipe import MethodSpec, TrainSpec
from brulee.training.documents import Document
from brulee.training.trainer import Trainer

MakeBase = Callable[..., Base]
KINDS = ["prompt", "prefix"]
CAUSAL = ["llama", "qwen3", "gemma", "mistral", "phi", "gpt2", "gpt-neox"]
LENGTHS = [(11, 5), (1, 3), (20, 1), (2, 9), (7, 7)]


def _method(kind: str, **options: Any) -> Method:
    return build_method(MethodSpec(name=kind, **{"tokens": 4, **options}))


def _documents(attached: Attached) -> list[Encoded]:
    draw = random.Random(0)
    return [
        Encoded.ending((*attached.prefix_ids, *(draw.randrange(5, 300) for _ in range(p + c))), c)
        for p, c in LENGTHS
    ]


def _gradient(
    base: Base, attached: Attached, batches: list[Any], pack_them: bool = False
) -> tuple[float, torch.Tensor]:
    ((parameter,),) = (group.parameters for group in attached.groups())
    loss = CompletionLoss(base.model)
    with packed(base.model) if pack_them else nullcontext():
        total = sum(loss(batch) for batch in batches)
        assert isinstance(total, torch.Tensor)
        (gradient,) = torch.autograd.grad(total, parameter)
    return total.item(), gradient


@pytest.mark.diagonal("name", "kind")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CAUSAL)
def test_packed_and_padded_give_the_loss_and_gradient_of_one_at_a_time(
    make_base: MakeBase, name: str, kind: str
) -> None:
    base = make_base(name)
    attached = _method(kind).attach(base.model)
    documents = _documents(attached)
    assert packs_exactly(base.model)
    expected = _gradient(base, attached, [pad([d], 0) for d in documents])
    assert expected[1].abs().max() > 1e-2
    together = _gradient(base, attached, [pack(documents)], pack_them=True)
    padded = _gradient(base, attached, [pad(documents, 0)])
    for loss, gradient in (together, padded):
        assert loss == pytest.approx(expected[0], rel=1e-5)
        torch.testing.assert_close(gradient, expected[1], atol=2e-4, rtol=1e-4)


@pytest.mark.diagonal("name", "kind")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["t5", "bart", "t5gemma"])
def test_padded_pairs_give_the_loss_and_gradient_of_one_at_a_time(
    make_base: MakeBase, name: str, kind: str
) -> None:
    base = make_base(name)
    attached = _method(kind).attach(base.model)
    documents = _documents(attached)
    expected = _gradient(base, attached, [pad_pairs([d], 0, (2,)) for d in documents])
    loss, gradient = _gradient(base, attached, [pad_pairs(documents, 0, (2,))])
    assert loss == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(gradient, expected[1], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "context"), [("gpt2", "n_positions"), ("bart", "max_position_embeddings")]
)
def test_a_prefix_that_leaves_few_positions_is_trained(
    make_base: MakeBase, name: str, context: str
) -> None:
    """What a model is tried on before its first pass has to fit behind it too."""
    model = make_base(name, **{context: 20}).model
    _method("prefix", tokens=18).attach(model)
    document = Encoded.ending((5, 6), 1)
    batch = pad_pairs([document], 0, (2,)) if name == "bart" else pad([document], 0)
    assert CompletionLoss(model)(batch).isfinite()


def test_a_prefix_is_put_before_a_model_whose_head_is_called_decoder() -> None:
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    ids |= {"cls_token_id": 1, "sep_token_id": 2}
    config = ModernBertDecoderConfig(**sizes, **ids, num_attention_heads=4)
    model = AutoModelForCausalLM.from_config(config).eval()
    text = torch.arange(5, 15).unsqueeze(0)
    plain = model(input_ids=text).logits
    attached = _method("prefix", init="random").attach(model)
    assert not torch.allclose(model(input_ids=text).logits, plain, atol=1e-3)
    attached.detach()
    assert torch.equal(model(input_ids=text).logits, plain)


def test_a_pack_after_a_prefix_is_refused_where_attention_would_mix_documents(
    make_base: MakeBase,
) -> None:
    base = make_base("llama")
    attached = _method("prefix").attach(base.model)
    batch = pack(_documents(attached))
    with pytest.raises(ValueError, match="packed"):
        base.model(**batch.inputs)


def test_the_order_of_keys_puts_the_prefix_before_each_document() -> None:
    order, bounds = before_each(torch.tensor([0, 3, 4, 9], dtype=torch.int32), 9, 2)
    assert order.tolist() == [0, 1, 2, 3, 4, 0, 1, 5, 0, 1, 6, 7, 8, 9, 10]
    assert (bounds.tolist(), bounds.dtype) == ([0, 5, 8, 15], torch.int32)
    order, bounds = before_each(torch.tensor([0, 2]), 2, 0)
    assert (order.tolist(), bounds.tolist()) == ([0, 1], [0, 2])


def _prompts(attached: Attached) -> list[list[int]]:
    draw = random.Random(1)
    # Enough for several passes over the prompts of one batch.
    lengths = [13, 1, 250, 7, 180, 8, 190, 30]
    return [[*attached.prefix_ids, *(draw.randrange(5, 300) for _ in range(n))] for n in lengths]


@torch.no_grad()
def _without_cache(base: Base, prompt: list[int], count: int) -> list[int]:
    written: list[int] = []
    for _ in range(count):
        if base.kind == "seq2seq":
            start = int(base.model.config.decoder_start_token_id)
            ids, more = prompt, {"decoder_input_ids": torch.tensor([[start, *written]])}
        else:
            ids, more = [*prompt, *written], {}
        logits = base.model(input_ids=torch.tensor([ids]), use_cache=False, **more).logits[0, -1]
        written.append(int(logits.argmax()))
    return written


@pytest.mark.diagonal("name", "kind")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "t5", "bart"])
def test_generating_with_a_cache_writes_what_is_written_without_one(
    make_base: MakeBase, name: str, kind: str
) -> None:
    base = make_base(name, **({"max_position_embeddings": 512} if name == "bart" else {}))
    attached = _method(kind).attach(base.model)
    prompts = _prompts(attached)
    expected = [_without_cache(base, prompt, 8) for prompt in prompts]
    engine = Engine(base.model, (299,), 0, reserved=attached.reserved)
    found = engine.generate(prompts, Sampling(8))
    for whole, wanted in zip(found, expected, strict=True):
        assert whole == (wanted[: wanted.index(299)] if 299 in wanted else wanted)
    assert [list(engine.stream(p, Sampling(8))) for p in prompts[:2]] == found[:2]
    assert max(token for ids in found for token in ids) < 300


@pytest.mark.diagonal("name", "kind")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "mistral", "t5"])
def test_likelihoods_of_shared_prompts_are_those_of_each_alone(
    make_base: MakeBase, name: str, kind: str
) -> None:
    base = make_base(name)
    attached = _method(kind).attach(base.model)
    draw = random.Random(2)
    prompts = [[*attached.prefix_ids, *draw.sample(range(5, 300), n)] for n in (9, 3)]
    requests = [
        Encoded.ending([*prompt, *draw.sample(range(5, 300), n)], n)
        for prompt in prompts
        for n in (4, 1, 2)
    ]
    engine = Engine(base.model, (2,), 0, reserved=attached.reserved)
    together = engine.loglikelihood(requests)
    for request, found in zip(requests, together, strict=True):
        (alone,) = engine.loglikelihood([request])
        assert found.log_probability == pytest.approx(alone.log_probability, abs=1e-4)
        assert (found.tokens, found.greedy) == (alone.tokens, alone.greedy)


@pytest.mark.parametrize("kind", KINDS)
def test_positions_of_a_soft_prompt_are_taken_off_the_context(
    make_base: MakeBase, kind: str
) -> None:
    base = make_base("gpt2", n_positions=32)
    attached = _method(kind).attach(base.model)
    encoder = Encoder(base.tokenizer, prefix_ids=attached.prefix_ids)
    engine = open_engine(base, encoder, attached=attached)
    longest = [*attached.prefix_ids, *([7] * 27)]
    assert len(engine.generate([longest], Sampling(9))[0]) <= 1
    with pytest.raises(InputError, match="too long"):
        engine.generate([[*longest, 7]], Sampling(9))


@pytest.mark.diagonal("name", "kind")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_training_lowers_the_loss_and_moves_nothing_else(
    make_base: MakeBase, tmp_path: Path, name: str, kind: str
) -> None:
    base = make_base(name)
    method = _method(kind, tokens=10)
    attached = method.attach(base.model)
    documents = _documents(attached)
    trainer = Trainer(
        base,
        attached,
        lambda i: Document(str(i), documents[i % len(documents)]),
        len(documents),
        TrainSpec(batch_size=5, epochs=60.0, weight_decay=0.1),
        learning_rate=method.learning_rate,
        folder=tmp_path,
        validation=documents,
    )
    with trainer.passes.boundary():
        before = trainer.validation_loss()
    trainer.train()
    with trainer.passes.boundary():
        assert trainer.validation_loss() < before - 0.3
    # Weight decay pulls no vector to nothing: zero stands for no word.
    assert all(group["weight_decay"] == 0.0 for group in trainer.optimizer.param_groups)


@pytest.mark.parametrize("name", ["llama", "gemma", "bart"])
def test_a_prompt_started_from_text_reads_as_that_text(make_base: MakeBase, name: str) -> None:
    base = make_base(name)
    text = "Summarise the conversation"
    wanted = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    method = _method("prompt", tokens=len(wanted), init_text=text)
    method.instruct(base.tokenizer, "Something else.")
    ids = torch.tensor([[7, 8, 9]])
    more = {"decoder_input_ids": torch.tensor([[2, 11]])} if base.kind == "seq2seq" else {}
    with torch.no_grad():
        expected = base.model(input_ids=torch.cat([torch.tensor([wanted]), ids], 1), **more).logits
        attached = method.attach(base.model)
        read = torch.cat([torch.tensor([attached.prefix_ids]), ids], 1)
        assert torch.equal(base.model(input_ids=read, **more).logits, expected)


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2"])
def test_a_prefix_started_from_text_is_that_text_already_read(
    make_base: MakeBase, name: str
) -> None:
    base = make_base(name)
    text = "Summarise the conversation"
    wanted = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    method = _method("prefix", tokens=len(wanted))
    method.instruct(base.tokenizer, text)
    ids = torch.tensor([[7, 8, 9]])
    with torch.no_grad():
        whole = base.model(input_ids=torch.cat([torch.tensor([wanted]), ids], 1)).logits
        method.attach(base.model)
        torch.testing.assert_close(
            base.model(input_ids=ids).logits, whole[:, -3:], atol=1e-5, rtol=1e-5
        )


def test_a_start_is_repeated_or_cut_to_length(make_base: MakeBase) -> None:
    base = make_base("llama")
    table = base.model.get_input_embeddings().weight
    wanted = base.tokenizer("the guest", add_special_tokens=False)["input_ids"]
    for count in (1, len(wanted) * 2 + 1):
        method = _method("prompt", tokens=count)
        method.instruct(base.tokenizer, "the guest")
        (start,) = method.attach(make_base("llama").model).tensors().values()
        assert torch.equal(start, table[[wanted[i % len(wanted)] for i in range(count)]])


def test_without_a_text_it_starts_from_vocabulary_each_token_once(make_base: MakeBase) -> None:
    base = make_base("llama")
    table = base.model.get_input_embeddings().weight
    for options in ({}, {"init": "vocabulary"}):
        method = _method("prompt", tokens=30, **options)
        method.instruct(base.tokenizer, "" if not options else "the guest")
        (start,) = method.attach(make_base("llama").model).tensors().values()
        found = [(table == row).all(dim=1).nonzero().item() for row in start]
        assert len(set(found)) == 30


def test_a_random_start_is_as_spread_as_the_vocabulary(make_base: MakeBase) -> None:
    model = make_base("llama").model
    spread = model.get_input_embeddings().weight.std().item()
    (start,) = _method("prompt", tokens=100, init="random").attach(model).tensors().values()
    assert start.std().item() == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"init": "random", "init_text": "Say"}, "method.init_text: of use with init: text"),
        ({"tokens": 0}, "tokens"),
        ({"init": "zero"}, "init"),
        ({"init_text": ""}, "init_text"),
        ({"lenght": 3}, "lenght"),
    ],
    ids=str,
)
def test_options_that_make_no_sense(kind: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        _method(kind, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_text_of_no_tokens_is_refused(make_base: MakeBase, kind: str) -> None:
    base = make_base("llama")
    method = _method(kind, init_text="?")
    with pytest.raises(InputError, match="gives no token to start from"):
        method.attach(base.model)
    assert all(p.requires_grad for p in base.model.parameters())


def test_a_width_of_a_net_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"method\.hidden"):
        _method("prefix", hidden=8)


def test_a_net_is_folded_away_and_training_goes_on_from_what_it_made(make_base: MakeBase) -> None:
    base = make_base("llama")
    attached = _method("prefix", init="random", projection=True, hidden=6).attach(base.model)
    made = attached.tensors()
    assert made["prompt_embeddings"].shape == (4, 2 * 2 * 2 * 8)
    attached.load(made)
    assert torch.equal(attached.tensors()["prompt_embeddings"], made["prompt_embeddings"])
    assert attached.trainable() == 4 * 16 + (16 * 6 + 6) + (6 * 64 + 64)


def test_the_instruction_of_a_template_is_what_it_says_whatever_the_row() -> None:
    text = "Summarize the following\n  conversation.\n\n{{ dialogue }}\nTL;DR:|||{{ summary }} ok"
    template = Template("t", text)
    assert instruction(template) == "Summarize the following conversation. TL;DR:"
    assert instruction(Template("t", "{{ question }}|||{{ answer }}")) == ""


def test_a_prompt_where_words_are_looked_up_for_each_layer_is_refused(make_base: MakeBase) -> None:
    """Without an id that a table lacks, from which a GPU does not recover."""
    model, most = make_base("gemma4").model, []
    tables = [m for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    for table in tables:
        table.register_forward_pre_hook(
            lambda m, x: most.append(int(x[0].max()) < m.num_embeddings)
        )
    with pytest.raises(InputError, match="Gemma4ForCausalLM looks its words up in a table"):
        _method("prompt").attach(model)
    assert most
    assert all(most)
    assert isinstance(model.get_input_embeddings(), torch.nn.Embedding)
    assert [len(table._forward_pre_hooks) for table in tables] == [1] * len(tables)


@pytest.mark.parametrize(
    "config",
    [
        MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=4),
        # Its layers take a cache and leave it empty.
        RecurrentGemmaConfig(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            lru_width=32,
        ),
    ],
    ids=["mamba", "recurrent-gemma"],
)
def test_a_prefix_of_a_model_with_a_recurrent_state_is_refused(config: PretrainedConfig) -> None:
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(InputError, match="ForCausalLM does not keep keys and values"):
        _method("prefix").attach(model)
    assert all(p.requires_grad for p in model.parameters())
    assert not model.training


@pytest.mark.parametrize("mode", ["per_loop", "last_loop"])
def test_layers_that_run_again_take_a_prefix_only_if_they_cache_it_each_time(
    mode: str, make_base: MakeBase
) -> None:
    """What is cached by the last loop alone, earlier ones read within a window of their own."""
    model = make_base("dory", recurrent_kv_cache_mode=mode).model
    if mode == "last_loop":
        with pytest.raises(InputError, match="DoryForCausalLM does not keep keys and values"):
            _method("prefix", init="random").attach(model)
        return
    attached = _method("prefix", init="random").attach(model)
    text = torch.arange(5, 30).unsqueeze(0)
    found = model(input_ids=text).logits
    attached.detach()
    assert not torch.allclose(found, model(input_ids=text).logits, atol=1e-4)

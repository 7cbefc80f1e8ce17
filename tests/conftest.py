"""Tiny models and tokenizers, made from configs: real architectures, random weights, no network."""

from __future__ import annotations

import gc
import runpy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from brulee.models.loading import Base

VOCABULARY = 300
SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CORPUS = [
    "The customer asked where the parcel was, and the agent sent a new one by express.",
    "Summarise the conversation between the guest and the hotel in one sentence.",
    "The guest could not check in because the room was not ready at three o'clock.",
    "Which of these reviews is the most positive? Give it between one and five stars.",
] * 3

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Brings its own beginning-of-text token, and ends a turn with the end-of-text token.
WITH_BOS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "[assistant] {{ m.content }}{{ eos_token }}{% else %}[{{ m.role }}] {{ m.content }} {% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
# Takes the answer into the prompt's text: what is read depends on what follows it.
REWRITES = (
    "{% if messages[-1].role == 'assistant' %}Answered. {% endif %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

# Weights large enough that tokens are told apart and attention is far from uniform.
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.25,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def pytest_configure() -> None:
    """Garbage is looked for a tenth as often as usual, which would be a twelfth of all the time.

    The libraries and the collected tests are hundreds of thousands of objects that stay.
    """
    gc.set_threshold(20_000, 10, 10)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of grids marked `diagonal("a", "b", ...)` all but a diagonal is slow.

    Value i of the longest parameter stands with value i of each other one, counted on from the
    first after the last: so every value of every parameter stands in a fast test. `lines=2` has
    another such diagonal, as far away as can be; `also` has single tuples of values. Of tests
    marked `fast_cases(3)` the first three cases are fast.
    """
    grids: dict[str, list[pytest.Function]] = {}
    seen: Counter[str] = Counter()
    for item in items:
        if few := item.get_closest_marker("fast_cases"):
            seen[item.nodeid.partition("[")[0]] += 1
            if seen[item.nodeid.partition("[")[0]] > few.args[0]:
                item.add_marker(pytest.mark.slow)
        if isinstance(item, pytest.Function) and item.get_closest_marker("diagonal"):
            grids.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for tests in grids.values():
        marker = next(tests[0].iter_markers("diagonal"))
        axes = [[_given(test, names) for test in tests] for names in marker.args]
        values = [[v for i, v in enumerate(axis) if v not in axis[:i]] for axis in axes]
        sizes = [len(distinct) for distinct in values]
        longest, lines = sizes.index(max(sizes)), marker.kwargs.get("lines", 1)
        fast = {
            tuple(
                i if axis == longest else (i + line * size // lines) % size
                for axis, size in enumerate(sizes)
            )
            for i in range(max(sizes))
            for line in range(lines)
        }
        also = [[[value] for value in row] for row in marker.kwargs.get("also", ())]
        for test, *given in zip(tests, *axes, strict=True):
            if tuple(map(list.index, values, given)) not in fast and given not in also:
                test.add_marker(pytest.mark.slow)


def _given(test: pytest.Function, names: str) -> list[Any]:
    return [test.callspec.params[name] for name in names.split(",")]


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Tiny matrices gain nothing from threads, and lose much where cores are shared."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_model(one_thread: None) -> Callable[..., PreTrainedModel]:
    """`make_model("llama", seed=0, **config)`: a fresh model in evaluation mode, in fp32.

    Names: llama (grouped queries), deepseek (values narrower than keys), qwen3, gemma (tied, scaled
    embeddings), mistral (sliding window 6), phi (biases, its head's too), phi3 (fused qkv and
    gate), gemma4 (heads of two widths, a table of words for each layer), gpt2, gpt-neox (fused
    qkv), t5, t5-gated, bart, marian (its positions are not stored), gemma3, mistral3 and qwen3_5
    (of several parts: with a tower that sees, as they are released), dory (layers between the first
    and the last run twice, no norms; skips the test if this transformers lacks it).
    """
    import torch

    def make(name: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
        torch.manual_seed(seed)
        return _BUILDERS[name](changes).eval()

    return make


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """`make_tokenizer(chat_template=None, begins=False, ends=False)`: a byte-level BPE.

    `begins` and `ends`: whether plain text gets the beginning- and end-of-text tokens put round it.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    trained = core.to_str()

    def make(
        chat_template: str | None = None, begins: bool = False, ends: bool = False
    ) -> PreTrainedTokenizerFast:
        own = Tokenizer.from_str(trained)
        single = " ".join([*(["<s>"] if begins else []), "$A", *(["</s>"] if ends else [])])
        own.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single=single, special_tokens=[("<s>", 1), ("</s>", 2)]
                ),
            ]
        )
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=own,
            pad_token="<pad>",
            bos_token="<s>",
            eos_token="</s>",
            additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        )
        tokenizer.chat_template = chat_template
        return tokenizer

    return make


@pytest.fixture(scope="session")
def make_base(
    make_model: Callable[..., PreTrainedModel],
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> Callable[..., Base]:
    """`make_base("llama", seed=0, **config)`: a fresh tiny model with its tokenizer."""
    from brulee.models.loading import Base

    def make(name: str = "llama", seed: int = 0, **changes: Any) -> Base:
        model = make_model(name, seed, **changes)
        seq2seq = bool(model.config.is_encoder_decoder)
        tokenizer = make_tokenizer(ends=True) if seq2seq else make_tokenizer(CHATML)
        kind = "seq2seq" if seq2seq else "causal"
        return Base(model, tokenizer, name, f"{name}-{seed}", kind, Path())

    return make


@pytest.fixture(scope="session")
def tiny_model_folder(
    tmp_path_factory: pytest.TempPathFactory, make_base: Callable[..., Base]
) -> Path:
    """A saved Llama with a chat template: usable as `model:` in a recipe. Not to be written to."""
    return _saved(make_base("llama"), tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_t5_folder(
    tmp_path_factory: pytest.TempPathFactory, make_base: Callable[..., Base]
) -> Path:
    """A saved encoder-decoder: usable as `model:` in a recipe. Not to be written to."""
    return _saved(make_base("t5"), tmp_path_factory.mktemp("models") / "tiny-t5")


@pytest.fixture(scope="session")
def chat_templates() -> dict[str, str]:
    """Chat templates by what is special about them: chatml, with_bos, rewrites."""
    return {"chatml": CHATML, "with_bos": WITH_BOS, "rewrites": REWRITES}


@pytest.fixture(scope="session")
def make_tool_tokenizer(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> Callable[[str], PreTrainedTokenizerFast]:
    """`make_tool_tokenizer("hermes")`: with a chat template of tests/tool_templates.py."""
    found = runpy.run_path(str(Path(__file__).parent / "tool_templates.py"))

    def make(name: str) -> PreTrainedTokenizerFast:
        tokenizer = make_tokenizer(found["TEMPLATES"][name])
        special = ["<|im_start|>", "<|im_end|>", *found["SPECIAL"]]
        tokenizer.add_special_tokens({"additional_special_tokens": special})
        return tokenizer

    return make


def _saved(base: Base, folder: Path) -> Path:
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


def _llama(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**{**_SIZES, **changes}))


def _qwen3(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tied = {"head_dim": 8, "tie_word_embeddings": True}
    return Qwen3ForCausalLM(Qwen3Config(**{**_SIZES, **tied, **changes}))


def _deepseek(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import DeepseekV2Config, DeepseekV2ForCausalLM

    widths: dict[str, Any] = {
        "kv_lora_rank": 8,
        "q_lora_rank": None,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "num_key_value_heads": 4,
        "first_k_dense_replace": 2,  # no experts
    }
    return DeepseekV2ForCausalLM(DeepseekV2Config(**{**_SIZES, **widths, **changes}))


def _gemma(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import GemmaConfig, GemmaForCausalLM

    return GemmaForCausalLM(GemmaConfig(**{**_SIZES, "head_dim": 8, **changes}))


def _phi(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import PhiConfig, PhiForCausalLM

    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "num_key_value_heads": 4}
    return PhiForCausalLM(PhiConfig(**{**_SIZES, **no_dropout, **changes}))


def _phi3(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import Phi3Config, Phi3ForCausalLM

    return Phi3ForCausalLM(Phi3Config(**{**_SIZES, **changes}))


def _gpt_neox(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes = {k: v for k, v in _SIZES.items() if k != "num_key_value_heads"}
    no_dropout = {"attention_dropout": 0.0, "hidden_dropout": 0.0}
    return GPTNeoXForCausalLM(GPTNeoXConfig(**{**sizes, **no_dropout, **changes}))


def _mistral(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(**{**_SIZES, "sliding_window": 6, **changes}))


def _gpt2(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 512,
        "initializer_range": 0.25,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }
    return GPT2LMHeadModel(GPT2Config(**{**sizes, **changes}))


def _t5(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
        "dropout_rate": 0.0,
        "initializer_factor": 1.0,
        "pad_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 0,
    }
    return T5ForConditionalGeneration(T5Config(**{**sizes, **changes}))


def _t5_gated(changes: dict[str, Any]) -> PreTrainedModel:
    return _t5({"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, **changes})


def _bart(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import BartConfig, BartForConditionalGeneration

    return BartForConditionalGeneration(BartConfig(**{**_bart_sizes(), **changes}))


def _marian(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import MarianConfig, MarianMTModel

    return MarianMTModel(MarianConfig(**{**_bart_sizes(), **changes}))


def _bart_sizes() -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "max_position_embeddings": 128,
        "init_std": 0.25,
        "dropout": 0.0,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
    }


def _t5gemma(changes: dict[str, Any]) -> PreTrainedModel:
    """An encoder and a decoder with a configuration each: `encoder` and `decoder` change one."""
    from transformers import T5GemmaConfig, T5GemmaForConditionalGeneration

    of_encoder, of_decoder = (changes.get(name, {}) for name in ("encoder", "decoder"))
    sizes = {**_SIZES, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 6}
    config = T5GemmaConfig(
        encoder={**sizes, **of_encoder},
        decoder={**sizes, **of_decoder},
        vocab_size=VOCABULARY,
        **{key: value for key, value in changes.items() if key not in ("encoder", "decoder")},
    )
    return T5GemmaForConditionalGeneration(config)


def _mamba(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import MambaConfig, MambaForCausalLM

    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
    return MambaForCausalLM(MambaConfig(**{**sizes, **changes}))


_TOWER: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}


def _gemma3(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    kinds = ["sliding_attention", "full_attention"]
    own = {"head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8, "layer_types": kinds}
    text = {**_SIZES, **own, **changes}
    config = Gemma3Config(text_config=text, vision_config=_TOWER, **_SEEN, mm_tokens_per_image=4)
    return Gemma3ForConditionalGeneration(config)


def _mistral3(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    text = {**_SIZES, "model_type": "ministral3", "head_dim": 8, **changes}
    tower = {**_TOWER, "model_type": "pixtral", "head_dim": 8}
    seen = {"image_token_index": 290, "tie_word_embeddings": False}
    return Mistral3ForConditionalGeneration(
        Mistral3Config(text_config=text, vision_config=tower, **seen)
    )


def _qwen3_5(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    kinds = ["linear_attention", "full_attention"]
    heads = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "head_dim": 8}
    heads |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
    tower = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2}
    tower |= {"out_hidden_size": 32, "patch_size": 8, "num_position_embeddings": 4}
    ids = {"image_token_id": 290, "video_token_id": 291}
    ids |= {"vision_start_token_id": 292, "vision_end_token_id": 293}
    text = {**_SIZES, **heads, "layer_types": kinds, **changes}
    return Qwen3_5ForConditionalGeneration(
        Qwen3_5Config(text_config=text, vision_config=tower, **ids, tie_word_embeddings=False)
    )


def _gemma4(changes: dict[str, Any]) -> PreTrainedModel:
    from transformers import Gemma4ForCausalLM, Gemma4TextConfig

    kinds = ["sliding_attention", "full_attention"]
    own = {"head_dim": 8, "global_head_dim": 16, "sliding_window": 6, "layer_types": kinds}
    per_layer = {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 4}
    return Gemma4ForCausalLM(Gemma4TextConfig(**{**_SIZES, **own, **per_layer, **changes}))


def _dory(changes: dict[str, Any]) -> PreTrainedModel:
    import transformers

    if not hasattr(transformers, "DoryConfig"):
        pytest.skip("this transformers does not have the family yet")
    looped = {"num_hidden_layers": 4, "n_input_layers": 1, "n_output_layers": 1}
    own = {"head_dim": 8, "sliding_window": 8}
    return transformers.DoryForCausalLM(
        transformers.DoryConfig(**{**_SIZES, **looped, **own, **changes})
    )


_SEEN = {"image_token_index": 290, "boi_token_index": 291, "eoi_token_index": 292}
_BUILDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "llama": _llama,
    "deepseek": _deepseek,
    "qwen3": _qwen3,
    "gemma": _gemma,
    "mistral": _mistral,
    "phi": _phi,
    "phi3": _phi3,
    "gpt2": _gpt2,
    "gpt-neox": _gpt_neox,
    "t5": _t5,
    "t5-gated": _t5_gated,
    "bart": _bart,
    "marian": _marian,
    "t5gemma": _t5gemma,
    "mamba": _mamba,
    "gemma3": _gemma3,
    "gemma4": _gemma4,
    "mistral3": _mistral3,
    "qwen3_5": _qwen3_5,
    "dory": _dory,
}

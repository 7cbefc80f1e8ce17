"""Models that also read images: loaded and stored whole, and tuned where text passes through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file

from brulee.data.batching import pack
from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods import build_method
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.merging import merge
from brulee.methods.storing import save_adapter
from brulee.models.head import CompletionLoss
from brulee.models.loading import Base, load_base
from brulee.models.saving import save_whole
from brulee.models.skeleton import depth, load_shallow, load_skeleton
from brulee.models.text_part import _unread, auto_class, beside_text
from brulee.recipe import MethodSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]
WHOLES = ["gemma3", "mistral3", "qwen3_5"]
CPU = torch.device("cpu")
IDS = torch.tensor([[7, 8, 9, 10, 11, 12, 13, 14]])
TOWERS = ("vision_tower", "multi_modal_projector", "visual")
METHODS: list[dict[str, Any]] = [
    {"name": "lora", "rank": 2},
    {"name": "full"},
    {"name": "selective", "train": "norms"},
    {"name": "selective", "train": "layers", "layers": {"last": 1}},
    {"name": "selective", "train": "sparse", "mask": "magnitude", "density": 0.1},
    {"name": "selective", "train": "embeddings"},
    {"name": "bottleneck"},
    {"name": "ia3"},
    {"name": "prompt", "tokens": 2, "init": "random"},
]
PREFIX = {"name": "prefix", "tokens": 2, "init": "random"}


@pytest.fixture
def saved(make_base: Callable[..., Base], tmp_path: Path) -> Callable[[str], Path]:
    """The folder of a model of several parts, as it is released."""

    def save(name: str, **changes: Any) -> Path:
        base, folder = make_base(name, **changes), tmp_path / name
        base.model.save_pretrained(folder)
        base.tokenizer.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text('{"image_processor_type": "None"}')
        return folder

    return save


def _of_tower(name: str) -> bool:
    return any(tower in name for tower in TOWERS)


def _stored(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}


@pytest.mark.parametrize("name", WHOLES)
def test_what_was_stored_whole_is_loaded_as_its_class(
    name: str, make_model: Make, saved: Callable[[str], Path]
) -> None:
    model, folder = make_model(name), saved(name)
    found = load_base(str(folder), torch.float32, CPU).model
    assert type(found) is type(model)
    torch.testing.assert_close(found(input_ids=IDS).logits, model(input_ids=IDS).logits)
    skeleton = load_skeleton(str(folder))
    assert type(skeleton) is type(model)
    assert depth(str(folder)) == 2
    shallow = load_shallow(str(folder), 1, torch.float32, CPU)
    assert len(shallow.get_decoder().layers) == 1


def test_a_folder_stored_without_its_tower_stays_so(
    make_base: Callable[..., Base], tmp_path: Path
) -> None:
    base = make_base("qwen3_5")
    text = transformers.Qwen3_5ForCausalLM(base.model.config.get_text_config())
    save_whole(replace(base, model=text), tmp_path)
    found = load_base(str(tmp_path), torch.float32, CPU).model
    assert type(found) is transformers.Qwen3_5ForCausalLM
    assert not beside_text(found)


@pytest.mark.parametrize("name", WHOLES)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: "-".join([m["name"], m.get("train", "")]))
@pytest.mark.diagonal("method", "name")
def test_nothing_is_trained_that_text_does_not_pass_through(
    method: dict[str, Any], name: str, make_model: Make
) -> None:
    model = make_model(name)
    tower = {n for n, _ in model.named_parameters() if _of_tower(n)}
    assert tower
    assert beside_text(model) == tower
    made = build_method(MethodSpec(**method))
    if made.documents():
        made.adopt(made.prepare(model, [torch.zeros((), requires_grad=True)]))
    attached = made.attach(model)
    assert not any(p.requires_grad for n, p in model.named_parameters() if _of_tower(n))
    ids = torch.cat([torch.tensor([attached.prefix_ids], dtype=torch.long), IDS], dim=1)
    logits = model(input_ids=ids).logits[0]
    F.cross_entropy(logits[:-1], ids[0, 1:].clamp(max=logits.shape[-1] - 1)).backward()
    for group in attached.groups():
        assert all(p.grad is not None for p in group.parameters)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(("gemma3", METHODS[0]), ("mistral3", METHODS[1]), ("gemma3", PREFIX)),
        *(("qwen3_5", METHODS[0]), ("gemma3", METHODS[1]), ("mistral3", METHODS[0])),
        *(("mistral3", PREFIX), ("qwen3_5", METHODS[1])),
    ],
    ids=lambda one: one if isinstance(one, str) else one["name"],
)
@pytest.mark.fast_cases(4)
def test_the_fast_path_computes_what_the_whole_does(
    method: dict[str, Any], name: str, make_model: Make
) -> None:
    model = make_model(name)
    attached = build_method(MethodSpec(**method)).attach(model)
    parameters = [p for group in attached.groups() for p in group.parameters]
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.05 * torch.randn(parameter.shape)
    documents = [Encoded.ending(tuple(range(7, 21)), 5), Encoded.ending((30, 31, 32, 33), 2)]
    loss = CompletionLoss(model)
    assert loss.decoder is not None
    ours = loss(pack(documents))
    found = torch.autograd.grad(ours, parameters)
    own = torch.zeros(())
    for document in documents:
        logits = model(input_ids=torch.tensor([document.ids])).logits[0]
        start, end = document.spans[0]
        wanted = torch.tensor(document.ids[start:end])
        own = own + F.cross_entropy(logits[start - 1 : end - 1], wanted, reduction="sum")
    torch.testing.assert_close(ours, own, rtol=1e-4, atol=1e-4)
    for one, other in zip(found, torch.autograd.grad(own, parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "quantise"), [("gemma3", "nf4"), ("mistral3", None)])
def test_a_merged_model_is_of_the_class_of_its_base_and_sees_as_that(
    name: str, quantise: str | None, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = saved(name)
    base = load_base(str(folder), torch.float32, CPU, quantise=quantise)
    attached = build_method(MethodSpec(name="lora", rank=2)).attach(base.model)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter += 0.1
    save_adapter(tmp_path / "adapter", attached, base, str(folder), "card", {})
    merge(tmp_path / "adapter", tmp_path / "merged")
    before, after = _stored(folder), _stored(tmp_path / "merged")
    assert before.keys() == after.keys()
    changed = {n for n, value in after.items() if not torch.equal(value, before[n])}
    assert changed
    assert not any(_of_tower(n) for n in changed)
    own = load_base(str(tmp_path / "merged"), torch.float32, CPU)
    assert type(own.model) is type(base.model)
    processor = "preprocessor_config.json"
    assert (tmp_path / "merged" / processor).read_text() == (folder / processor).read_text()


def test_the_class_for_text_is_loaded_where_the_whole_does_not_read_it_alone(
    tmp_path: Path, make_base: Callable[..., Base]
) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
    text = {**sizes, "num_key_value_heads": 2, "vocab_size": 300, "intermediate_size": 48}
    text |= {"intermediate_size_mlp": 48, "num_local_experts": 2, "moe_layers": [1]}
    tower = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    tower |= {"intermediate_size": 64, "vision_output_dim": 32, "image_size": 16, "patch_size": 8}
    tower |= {"projector_input_dim": 32, "projector_output_dim": 32}
    config = transformers.Llama4Config(
        text_config={**text, "pad_token_id": 0}, vision_config=tower, boi_token_index=290
    )
    model = transformers.Llama4ForConditionalGeneration(config)
    save_whole(replace(make_base("llama"), model=model), tmp_path)
    found = load_base(str(tmp_path), torch.float32, CPU).model
    if _unread(model) is None:
        pytest.skip("the whole reads text by itself in this transformers")
    assert type(found) is transformers.Llama4ForCausalLM
    own = model.language_model(input_ids=IDS).logits
    torch.testing.assert_close(found(input_ids=IDS).logits, own)


@pytest.mark.parametrize("kind", ["Gemma3", "AudioFlamingo3", "Florence2", "T5Gemma2"])
def test_a_whole_is_loaded_by_a_class_that_lists_it(kind: str) -> None:
    config = getattr(transformers, f"{kind}Config")()
    config.architectures = [f"{kind}ForConditionalGeneration"]
    listed = auto_class(config)._model_mapping[type(config)]
    assert listed.__name__ == f"{kind}ForConditionalGeneration"


def test_the_tower_of_a_model_of_speech_is_no_part_of_its_text() -> None:
    """Although transformers lists it among the encoder-decoders alone."""
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}
    sizes |= {"intermediate_size": 24}
    config = transformers.AudioFlamingo3Config(
        audio_config={**sizes, "num_mel_bins": 8, "model_type": "audioflamingo3_encoder"},
        text_config={**sizes, "vocab_size": 300, "num_key_value_heads": 2, "model_type": "qwen2"},
    )
    model = auto_class(config).from_config(config).eval()
    assert _unread(model) is None
    outside = beside_text(model)
    assert {name.split(".")[1] for name in outside} == {"audio_tower", "multi_modal_projector"}
    inside = {name for name, _ in model.named_parameters()} - outside
    assert {name.split(".")[0] for name in inside} <= {"model", "lm_head"}
    assert {name.split(".")[1] for name in inside} == {"language_model", "weight"}


@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_a_model_that_writes_no_text_is_refused(
    tmp_path: Path,
    make_base: Callable[..., Base],
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    def needs_images(*_: Any, **__: Any) -> None:
        raise error("You must specify pixel_values")

    base = make_base("mistral3")
    save_whole(base, tmp_path)
    monkeypatch.setattr(type(base.model), "forward", needs_images)
    with pytest.raises(
        InputError, match=r"Mistral3ForCond.* reads no text by itself.*: You must specify"
    ):
        load_base(str(tmp_path), torch.float32, CPU)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("named_by", ["the whole", "its part"])
def test_a_lora_of_peft_is_read_for_the_part_of_text(
    named_by: str, make_base: Callable[..., Base], tmp_path: Path
) -> None:
    """Whether it has pairs in the tower too, which text leaves at zero, or the part's own names."""
    from peft import LoraConfig, get_peft_model

    base = make_base("qwen3_5")
    copy = make_base("qwen3_5").model
    if named_by == "its part":
        part = transformers.Qwen3_5ForCausalLM(copy.config.get_text_config())
        part.model, part.lm_head = copy.model.language_model, copy.lm_head
        copy = part.eval()
    names = ["q_proj", "down_proj", *(["qkv", "linear_fc1"] if named_by == "the whole" else [])]
    tuned = get_peft_model(copy, LoraConfig(r=2, target_modules=names, task_type="CAUSAL_LM"))
    of_tower = []
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name and not _of_tower(name):
            parameter.data += 0.1
        of_tower += [parameter] if "lora_B" in name and _of_tower(name) else []
    assert bool(of_tower) == (named_by == "the whole")
    tuned.save_pretrained(str(tmp_path))
    expected = tuned.eval()(input_ids=IDS).logits
    attached = attach_adapter(open_adapter(tmp_path), base)
    torch.testing.assert_close(base.model(input_ids=IDS).logits, expected)
    attached.detach()
    if of_tower:
        of_tower[0].data += 0.1
        tuned.save_pretrained(str(tmp_path))
        with pytest.raises(InputError, match=r"visual.* which text does not pass through"):
            attach_adapter(open_adapter(tmp_path), base)

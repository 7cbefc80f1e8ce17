"""Several adapters as one: exact where it says so, honest where not, refused where undefined."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.inference.session import open_session
from brulee.methods import build_method
from brulee.methods.adapter_files import CARD, CONFIG, OURS, WEIGHTS
from brulee.methods.alongside import Alongside
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.combining import combine
from brulee.methods.merging import merge
from brulee.methods.shelf import entries
from brulee.methods.storing import save_adapter
from brulee.methods.whole import write_model_record
from brulee.models.added_tokens import NewToken
from brulee.models.loading import Base, load_base
from brulee.recipe import MethodSpec

MakeBase = Callable[..., Base]
_FOUND = runpy.run_path(str(Path(__file__).parents[2] / "experts.py"))
make_experts: Callable[..., PreTrainedModel] = _FOUND["make_experts"]
Write = Callable[..., str]
MIXED: list[dict[str, Any]] = [
    {"rank": 2, "alpha": 6.0, "ranks": {"down_proj": 5}, "alphas": {"v_proj": 3.0}},
    {"rank": 3, "rslora": True, "target": ["q_proj", "embed_tokens", "lm_head"]},
    {"rank": 2, "init": "pissa", "target": ["q_proj", "down_proj"]},
]


def _base(folder: Path) -> Base:
    return load_base(str(folder), torch.float32, torch.device("cpu"))


def _move(attached: Any, seed: int, scale: float = 0.05) -> None:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=scale)


@pytest.fixture
def write(tiny_model_folder: Path, tmp_path: Path) -> Write:
    """`write("a", "lora", seed=1, rank=2)`: an adapter of the tiny model; returns its folder."""

    def made(
        name: str, method: str = "lora", seed: int = 0, model: Path | None = None,
        record: dict[str, Any] | None = None, **options: Any,
    ) -> str:  # fmt: skip
        base = _base(model or tiny_model_folder)
        attached = build_method(MethodSpec(name=method, **options)).attach(base.model)
        _move(attached, seed)
        source = str(model or tiny_model_folder)
        save_adapter(tmp_path / name, attached, base, source, "", record or {})
        return str(tmp_path / name)

    return made


@pytest.fixture
def whole(tiny_model_folder: Path, tmp_path: Path) -> Write:
    """`whole("a", seed=1)`: the tiny model tuned whole; returns its folder."""

    def made(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> str:
        base = _base(tiny_model_folder)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in base.model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.01)
        base.model.to(dtype).save_pretrained(tmp_path / name)
        base.tokenizer.save_pretrained(tmp_path / name)
        record = {"method": {"name": "full"}, "chat_template": "auto"}
        write_model_record(tmp_path / name, base, str(tiny_model_folder), record)
        return str(tmp_path / name)

    return made


def _weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def _changes(folder: str | Path, model: Path) -> dict[str, torch.Tensor]:
    """What a merged adapter, or a whole model, changes of every weight."""
    plain, base = _weights(_base(model).model), _base(model)
    if (Path(folder) / CONFIG).is_file():
        attach_adapter(open_adapter(Path(folder)), base).merge()
    else:
        base = _base(Path(folder))
    return {name: value - plain[name] for name, value in _weights(base.model).items()}


def _assert_sum(
    made: str | Path, parts: list[str], weights: list[float], model: Path, tolerance: float = 1e-5
) -> None:
    each = [_changes(part, model) for part in parts]
    for name, change in _changes(made, model).items():
        expected = sum(w * one[name] for w, one in zip(weights, each, strict=True))
        torch.testing.assert_close(change, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("weights", [[0.7, 0.2, 0.1], [1.0, -0.5, 2.0]], ids=str)
def test_a_sum_of_loras_is_exact_whatever_their_scales_ranks_and_targets(
    write: Write, tiny_model_folder: Path, tmp_path: Path, weights: list[float]
) -> None:
    parts = [write(f"{i}", seed=i, **options) for i, options in enumerate(MIXED)]
    made = combine(parts, tmp_path / "out", weights=weights)
    _assert_sum(tmp_path / "out", parts, weights, tiny_model_folder)
    assert made.from_sum is not None
    assert made.from_sum < 1e-6
    assert made.by_rank is None
    assert made.notes == ("of 16 modules that any of them changes, all change 2.",)


def test_what_is_kept_is_measured_on_the_weights(
    write: Write, tiny_model_folder: Path, tmp_path: Path
) -> None:
    parts = [write("a", seed=1, rank=4), write("b", seed=2, rank=4, target=["q_proj", "up_proj"])]
    for how, rank, factors in (("sum", 3, False), ("ties", 4, False), ("sum", None, True)):
        out = tmp_path / f"{how}-{rank}"
        made = combine(parts, out, how, [0.6, 0.4], rank=rank, factors=factors)
        flat = [
            torch.cat([t.flatten().double() for t in _changes(one, tiny_model_folder).values()])
            for one in (out, *parts)
        ]
        result, own = flat[0], flat[1:]
        for vector, kept in zip(own, made.parts, strict=True):
            assert kept.share == pytest.approx(float(result @ vector / (vector @ vector)), abs=1e-4)
            cosine = float(torch.cosine_similarity(result, vector, dim=0))
            assert kept.cosine == pytest.approx(cosine, abs=1e-4)
            assert kept.relative == pytest.approx(
                float((result - vector).norm() / vector.norm()), abs=1e-4
            )
        meant = 0.6 * own[0] + 0.4 * own[1]
        assert made.from_sum == pytest.approx(
            float((result - meant).norm() / meant.norm()), abs=1e-4
        )
        assert made.from_sum > 0.05, "nothing was lost, so that nothing was measured"


def test_cutting_to_a_rank_loses_least_and_says_how_much(
    write: Write, tiny_model_folder: Path, tmp_path: Path
) -> None:
    parts = [write("a", seed=1, rank=4), write("b", seed=2, rank=4)]
    lost = []
    for rank in (1, 3, 6, 8):
        made = combine(parts, tmp_path / f"{rank}", rank=rank)
        lost.append(made.from_sum)
        change = _changes(tmp_path / f"{rank}", tiny_model_folder)
        change = {name: moved for name, moved in change.items() if moved.ndim == 2}
        assert max(int(torch.linalg.matrix_rank(t, atol=1e-4)) for t in change.values()) <= rank
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] < 1e-6 < lost[-2]
    ties = combine(parts, tmp_path / "ties", "ties", rank=2)
    assert ties.by_rank is not None
    assert 0.1 < ties.by_rank < 1
    full = combine(parts, tmp_path / "all", "ties", rank=999)
    assert full.by_rank is not None
    assert full.by_rank < 1e-5
    assert json.loads((tmp_path / "all" / CONFIG).read_text())["r"] <= 48


def test_one_adapter_can_be_scaled_negated_or_cut(
    write: Write, tiny_model_folder: Path, tmp_path: Path
) -> None:
    part = write("a", seed=1, rank=4)
    combine([part], tmp_path / "minus", weights=[-1.0])
    _assert_sum(tmp_path / "minus", [part], [-1.0], tiny_model_folder)
    assert combine([part], tmp_path / "cut", rank=2).label == "LoRA r2 (sum of 1)"


@pytest.mark.parametrize("name", ["gpt2", "gemma", "t5", "bart", "qwen3"])
def test_loras_of_every_kind_of_model_are_summed_exactly(
    make_base: MakeBase, write: Write, tmp_path: Path, name: str
) -> None:
    base = make_base(name)
    base.model.save_pretrained(tmp_path / "m")
    base.tokenizer.save_pretrained(tmp_path / "m")
    parts = [
        write("a", seed=1, model=tmp_path / "m", rank=2),
        write("b", seed=2, model=tmp_path / "m", rank=3, target="attention"),
    ]
    combine(parts, tmp_path / "out", weights=[0.5, -1.0])
    _assert_sum(tmp_path / "out", parts, [0.5, -1.0], tmp_path / "m")


def test_the_type_of_the_files_is_kept_and_sums_are_made_in_fp32(
    write: Write, tmp_path: Path
) -> None:
    parts = [write("a", seed=1), write("b", seed=2)]
    combine(parts, tmp_path / "wide", "ties")
    for part in parts:
        held = load_file(Path(part) / WEIGHTS)
        save_file({k: t.bfloat16() for k, t in held.items()}, Path(part) / WEIGHTS)
        (Path(part) / OURS).unlink()  # as PEFT writes it: without digests
    combine(parts, tmp_path / "half", "sum")
    assert {t.dtype for t in load_file(tmp_path / "half" / WEIGHTS).values()} == {torch.bfloat16}
    assert {t.dtype for t in load_file(tmp_path / "wide" / WEIGHTS).values()} == {torch.float32}
    combine([parts[0], write("c", seed=3)], tmp_path / "both")
    assert {t.dtype for t in load_file(tmp_path / "both" / WEIGHTS).values()} == {torch.float32}


def test_what_no_half_float_can_hold_is_refused(write: Write, tmp_path: Path) -> None:
    part = write("a", seed=1)
    held = load_file(Path(part) / WEIGHTS)
    save_file({k: t.half() for k, t in held.items()}, Path(part) / WEIGHTS)
    (Path(part) / OURS).unlink()
    with pytest.raises(InputError, match=r"values that torch\.float16, which"):
        combine([part], tmp_path / "out", weights=[1e6])
    assert not (tmp_path / "out").exists()


def test_a_result_says_what_it_is_made_of_and_is_found(
    write: Write, tiny_model_folder: Path, tmp_path: Path
) -> None:
    record = {"chat_template": "auto", "system": "Be brief.", "method": {"name": "lora"}}
    (tmp_path / "runs" / "one").mkdir(parents=True)
    shutil.move(write("a", seed=1, record=record), tmp_path / "runs" / "one" / "adapter")
    (tmp_path / "runs" / "one" / "recipe.yaml").write_text("name: one\n")
    parts = [str(tmp_path / "runs" / "one"), write("b", seed=2, record=record)]
    out = tmp_path / "runs" / "both"
    made = combine(parts, out, "dare", [0.7, 0.3], rank=4, density=0.9, seed=5)
    assert (made.label, made.notes) == ("LoRA r4 (dare of 2)", ())
    assert [one.name for one in made.parts] == ["one", "b"]
    ours = json.loads((out / OURS).read_text())
    digest = open_adapter(tmp_path / "b").record["tensors_digest"]
    assert ours["combined"]["of"][1] == {
        "name": "b", "label": "LoRA r8", "weight": 0.3, "tensors_digest": digest,
    }  # fmt: skip
    found = {k: v for k, v in ours["combined"].items() if k != "of"}
    assert found == {"how": "dare", "density": 0.9, "seed": 5, "rank": 4}
    assert (ours["system"], ours["method"]["rank"]) == ("Be brief.", 4)
    assert ours["base"]["digest"] == _base(tiny_model_folder).digest
    assert digest in (out / CARD).read_text()
    assert str(tmp_path / "b") not in (out / CARD).read_text() + (out / OURS).read_text()
    assert [e.label for e in entries(tmp_path / "runs")] == ["LoRA r4 (dare of 2)", "LoRA r8"]
    session = open_session(str(out), "cpu", "float32")
    assert session.complete(["Where is the parcel?"], max_new_tokens=4)
    by_factors = combine(parts, tmp_path / "factors", factors=True)
    assert by_factors.label == "LoRA r8 (sum of 2, by factors)"
    again = combine(parts, tmp_path / "again", "dare", [0.7, 0.3], rank=4, density=0.9, seed=5)
    other = combine(parts, tmp_path / "other", "dare", [0.7, 0.3], rank=4, density=0.9, seed=6)
    assert again.parts == made.parts != other.parts
    assert merge(out, tmp_path / "merged").label == made.label


def test_a_combination_can_be_combined_again(
    write: Write, tiny_model_folder: Path, tmp_path: Path
) -> None:
    parts = [write(name, seed=i) for i, name in enumerate("abc")]
    combine(parts[:2], tmp_path / "ab", weights=[1.0, 1.0])
    combine([str(tmp_path / "ab"), parts[2]], tmp_path / "abc", weights=[0.5, 0.25])
    _assert_sum(tmp_path / "abc", parts, [0.5, 0.5, 0.25], tiny_model_folder)


def test_scales_add_what_each_would_add(
    write: Write, tiny_model_folder: Path, tmp_path: Path
) -> None:
    parts = [
        write("a", "ia3", seed=1),
        write("b", "ia3", seed=2, attention=["q_proj", "v_proj"], feedforward=[]),
    ]
    made = combine(parts, tmp_path / "out", weights=[1.0, 0.5])
    _assert_sum(tmp_path / "out", parts, [1.0, 0.5], tiny_model_folder)
    assert made.from_sum is not None
    assert made.from_sum < 1e-5
    assert made.label == "IA3 (sum of 2)"
    combine(parts, tmp_path / "ties", "dare-ties", density=0.5)
    with pytest.raises(InputError, match="on two sides"):
        combine(
            [parts[0], write("c", "ia3", attention=[], feedforward=["k_proj"])], tmp_path / "no"
        )


@pytest.mark.parametrize(
    ("options", "label"),
    [
        (({"train": "norms"}, {"train": "norms"}), "norms only (sum of 2)"),
        (({"train": "norms"}, {"train": "layers", "layers": [1]}), "parameters only (sum of 2)"),
        (
            ({"train": "sparse", "mask": "magnitude", "density": 0.02},
             {"train": "parameters", "parameters": ["*.q_proj.weight"]}),
            "parameters only (sum of 2)",
        ),
    ],
    ids=["norms", "norms and a layer", "a mask and whole maps"],
)  # fmt: skip
def test_tuned_values_move_from_the_bases_by_the_sum_of_their_moves(
    write: Write, tiny_model_folder: Path, tmp_path: Path, options: Any, label: str
) -> None:
    parts = [write(f"{i}", "selective", seed=i, **one) for i, one in enumerate(options)]
    made = combine(parts, tmp_path / "out", weights=[1.0, -0.5])
    assert made.label == label
    _assert_sum(tmp_path / "out", parts, [1.0, -0.5], tiny_model_folder)
    assert not list(tmp_path.glob(".*.tmp"))


def test_two_masks_become_the_values_that_either_has(
    write: Write, tiny_model_folder: Path, tmp_path: Path
) -> None:
    sparse = {"train": "sparse", "mask": "magnitude"}
    parts = [
        write("a", "selective", seed=1, density=0.02, **sparse),
        write("b", "selective", seed=2, density=0.05, **sparse),
    ]
    made = combine(parts, tmp_path / "out", weights=[1.0, 1.0])
    _assert_sum(tmp_path / "out", parts, [1.0, 1.0], tiny_model_folder)
    assert made.label.startswith("magnitude mask 4.97%")


@pytest.mark.parametrize("how", ["sum", "ties", "dare"])
def test_whole_models_move_from_their_base(
    whole: Write, tiny_model_folder: Path, tmp_path: Path, how: str
) -> None:
    parts = [whole("a", seed=1), whole("b", seed=2)]
    made = combine(parts, tmp_path / "out", how, [1.0, -0.5])
    if how == "sum":
        _assert_sum(tmp_path / "out", parts, [1.0, -0.5], tiny_model_folder)
    assert made.label == f"full ({how} of 2)"
    (listed,) = entries(tmp_path / "out")
    assert (listed.label, listed.problem) == (f"full ({how} of 2)", None)
    assert open_session(str(tmp_path / "out"), "cpu", "float32").complete(["Hi."], max_new_tokens=3)


@pytest.mark.parametrize("name", ["t5", "bart", "gpt2", "marian", "qwen3", "gemma3", "experts"])
def test_whole_models_with_tied_and_computed_weights_are_combined(
    make_base: MakeBase, tmp_path: Path, name: str
) -> None:
    """And those whose files have other names than the model, or a tensor for every expert."""
    base = make_base("llama" if name == "experts" else name)
    base = replace(base, model=make_experts("qwen2")) if name == "experts" else base
    plain = _weights(base.model)
    base.model.save_pretrained(tmp_path / "m")
    base.tokenizer.save_pretrained(tmp_path / "m")
    base = _base(tmp_path / "m")
    with torch.no_grad():
        for parameter in base.model.parameters():
            parameter.mul_(1.01) if parameter.requires_grad else None
    base.model.save_pretrained(tmp_path / "a")
    base.tokenizer.save_pretrained(tmp_path / "a")
    write_model_record(tmp_path / "a", base, str(tmp_path / "m"), {"method": {"name": "full"}})
    combine([str(tmp_path / "a")], tmp_path / "out", weights=[2.0])
    tuned = _weights(_base(tmp_path / "a").model)
    for key, value in _weights(_base(tmp_path / "out").model).items():
        fixed = torch.equal(tuned[key], plain[key])
        torch.testing.assert_close(value, plain[key] * (1 if fixed else 1.02))


@pytest.mark.parametrize("alongside", [False, True], ids=["a low-rank head", "a head of its own"])
def test_a_head_that_merging_untied_is_combined_too(
    make_base: MakeBase, tmp_path: Path, alongside: bool
) -> None:
    """And with a model in which head and embedding are still one."""
    base, folder = make_base("qwen3"), tmp_path / "m"
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    base = _base(folder)
    lora = MethodSpec(name="lora", target=["q_proj"] if alongside else ["q_proj", "lm_head"])
    whole = ("lm_head",) if alongside else ()
    attached = Alongside(whole=whole).attach(build_method(lora), base.model)
    _move(attached, 1)
    save_adapter(tmp_path / "a", attached, base, str(folder), "", {})
    merge(tmp_path / "a", tmp_path / "apart")
    base = _base(folder)
    with torch.no_grad():
        base.model.get_input_embeddings().weight.mul_(1.5)
    base.model.save_pretrained(tmp_path / "tied")
    base.tokenizer.save_pretrained(tmp_path / "tied")
    write_model_record(tmp_path / "tied", base, str(folder), {"method": {"name": "full"}})
    parts = [str(tmp_path / name) for name in ("apart", "tied")]
    combine(parts, tmp_path / "out", weights=[1.0, 0.5])
    combine(parts[1:], tmp_path / "one", weights=[2.0])

    def tables(name: str) -> torch.Tensor:
        model = _base(tmp_path / name).model
        words, head = model.get_input_embeddings(), model.get_output_embeddings()
        return torch.stack([words.weight, head.weight]).detach()

    moved = [tables(name) - tables("m") for name in ("apart", "tied")]
    assert not torch.equal(*tables("apart")), "merging left them tied"
    torch.testing.assert_close(tables("out"), tables("m") + moved[0] + 0.5 * moved[1])
    assert torch.equal(*tables("one"))
    assert _base(tmp_path / "one").model.config.tie_word_embeddings


def test_whole_models_with_the_same_new_tokens_are_combined_and_others_are_not(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    """Merging each is what the refusal of adapters with rows of tokens says to do."""
    adapters = []
    for name, text, seed in (("a", "<note>", 1), ("b", "<note>", 2), ("c", "<end>", 3)):
        how = {"tokens": [NewToken(text)]}
        base = load_base(str(tiny_model_folder), torch.float32, torch.device("cpu"), **how)
        attached = Alongside((300,)).attach(build_method(MethodSpec()), base.model)
        _move(attached, seed)
        save_adapter(tmp_path / name, attached, base, str(tiny_model_folder), "", {})
        merge(tmp_path / name, tmp_path / f"m{name}")
        adapters.append(str(tmp_path / name))
    with pytest.raises(InputError, match=r"it has rows of tokens, which .* Merge each into its"):
        combine(adapters[:2], tmp_path / "out")
    parts = [str(tmp_path / name) for name in ("ma", "mb", "mc")]
    with pytest.raises(InputError, match=r"mc was trained with '<end>' added, and .*'<note>' add"):
        combine([parts[0], parts[2]], tmp_path / "out")
    combine(parts[:2], tmp_path / "out", weights=[0.5, 0.5])
    first, second, out = (
        _weights(_base(folder).model)
        for folder in (tmp_path / "ma", tmp_path / "mb", tmp_path / "out")
    )
    assert out["lm_head.weight"].shape == (301, 32)
    for name, value in out.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)
    again = combine([str(tmp_path / "out"), parts[0]], tmp_path / "again")
    assert _base(again.folder).tokenizer.convert_tokens_to_ids("<note>") == 300


def test_a_whole_model_that_lacks_a_tensor_is_refused_by_name(
    whole: Write, tiny_model_folder: Path, tmp_path: Path
) -> None:
    parts = [whole("a", seed=1), whole("b", seed=2)]
    file, ours = Path(parts[1]) / "model.safetensors", Path(parts[1]) / OURS
    held = load_file(file)
    del held["model.norm.weight"]
    save_file(held, file, metadata={"format": "pt"})
    record = json.loads(ours.read_text())
    del record["weights_digest"]
    ours.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"b: it has no tensor 'model\.norm\.weight', which its"):
        combine(parts, tmp_path / "out")
    ours.write_text(json.dumps({"method": {"name": "full"}}))
    with pytest.raises(InputError, match="b: it names no base model; give one with --base"):
        combine(parts[1:], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_whole_models_keep_the_type_of_their_files(whole: Write, tmp_path: Path) -> None:
    parts = [whole("a", 1, torch.bfloat16), whole("b", 2, torch.bfloat16)]
    combine(parts, tmp_path / "out")
    held = {t.dtype for t in load_file(tmp_path / "out" / "model.safetensors").values()}
    assert held == {torch.bfloat16}


def test_a_merged_lora_and_a_whole_model_are_combined_as_models(
    write: Write, whole: Write, tiny_model_folder: Path, tmp_path: Path
) -> None:
    merge(Path(write("a", seed=1, dora=True)), tmp_path / "merged")
    parts = [str(tmp_path / "merged"), whole("b", seed=2)]
    combine(parts, tmp_path / "out", weights=[0.5, 0.5])
    _assert_sum(tmp_path / "out", parts, [0.5, 0.5], tiny_model_folder)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("bottleneck", {}, "are not linear"),
        ("prompt", {}, "no change of a weight"),
        ("prefix", {}, "no change of a weight"),
        ("lora", {"dora": True}, "DoRA gives each output a length of its own"),
    ],
)
def test_what_cannot_be_combined_says_why(
    write: Write, tmp_path: Path, name: str, options: dict[str, Any], said: str
) -> None:
    parts = [write("a", seed=1), write("b", name, **options)]
    with pytest.raises(InputError, match=said) as refused:
        combine(parts, tmp_path / "out")
    assert parts[1] in str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_another_base_is_refused_by_name(
    make_base: MakeBase, write: Write, whole: Write, tmp_path: Path
) -> None:
    other = make_base("llama", seed=3)
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    part, strange = write("a"), write("b", model=tmp_path / "other")
    with pytest.raises(InputError, match=r"b was made for the base '.*other' with digest"):
        combine([part, strange], tmp_path / "out")
    with pytest.raises(InputError, match=r"but --base .*other has"):
        combine([part], tmp_path / "out", base=str(tmp_path / "other"))
    with pytest.raises(InputError, match=r"but --base .*other has"):
        combine([whole("w")], tmp_path / "out", base=str(tmp_path / "other"))
    (Path(strange) / OURS).unlink()  # without a digest, that of the base that it names counts
    with pytest.raises(InputError, match="b was made for the base"):
        combine([part, strange], tmp_path / "out")
    held = json.loads((Path(strange) / CONFIG).read_text())
    (Path(strange) / CONFIG).write_text(json.dumps({**held, "base_model_name_or_path": ""}))
    with pytest.raises(InputError, match="it names no base model; give one with --base"):
        combine([part, strange], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_base_that_was_moved_is_named(
    write: Write, tiny_model_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / "here")
    parts = [write("a", seed=1, model=tmp_path / "here"), write("b", model=tmp_path / "here")]
    (tmp_path / "here").rename(tmp_path / "there")
    gone = r"a: its base '.*here' was not found; say where it is now with --base"
    for asked in (combine, lambda given, out: merge(Path(given[0]), out)):
        with pytest.raises(InputError, match=gone):
            asked(parts, tmp_path / "out")
    combine(parts, tmp_path / "out", base=str(tmp_path / "there"))
    assert open_adapter(tmp_path / "out").base_name == str(tmp_path / "there")
    open_session(str(tmp_path / "out"), "cpu", "float32")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"weights": [1.0]}, "1 given for 2 adapters"),
        ({"weights": [1.0, 0.0]}, "--weights: 0 for "),
        ({"weights": [1.0, float("nan")]}, "--weights: nan for "),
        ({"how": "median"}, "--how: unknown way 'median'"),
        ({"rank": 0}, "--rank: 0 is not valid"),
        ({"rank": 4, "factors": True}, "--rank: with --factors"),
        ({"density": 0.5}, "--density: sum keeps every value"),
        ({"how": "ties", "density": 0.0}, "--density: 0 is not valid; valid: above 0, to 1"),
        ({"how": "ties", "density": 1e-9}, "nothing is left"),
        ({"factors": True}, "has the ranks 8, 4"),
    ],
    ids=str,
)
def test_an_option_that_is_wrong_or_unread_is_refused(
    write: Write, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    parts = [write("a", seed=1), write("b", seed=2, rank=4)]
    with pytest.raises(InputError, match=said):
        combine(parts, tmp_path / "out", **more)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_folders_may_be_texts_or_paths_in_a_list(write: Write, tmp_path: Path) -> None:
    part = write("a")
    made = combine([Path(part)], str(tmp_path / "out"))
    assert made.folder == tmp_path / "out"
    for none in (part, []):
        with pytest.raises(InputError, match="combine wants a list"):
            combine(none, tmp_path / "no")


def test_methods_and_kinds_are_not_mixed(write: Write, whole: Write, tmp_path: Path) -> None:
    lora, ia3, full = write("a"), write("b", "ia3"), whole("w")
    with pytest.raises(InputError, match=r"of method lora and .* of method ia3"):
        combine([lora, ia3], tmp_path / "out")
    with pytest.raises(InputError, match=r"of method lora and .* of method full"):
        combine([lora, full], tmp_path / "out")
    with pytest.raises(InputError, match="--rank: only a LoRA has one"):
        combine([ia3], tmp_path / "out", rank=3)
    with pytest.raises(InputError, match="--factors: only a LoRA has"):
        combine([full], tmp_path / "out", factors=True)
    with pytest.raises(InputError, match="exists already"):
        combine([lora], Path(ia3))


def test_damage_is_refused(write: Write, whole: Write, tmp_path: Path) -> None:
    part, model = write("a"), whole("w")
    for file in (Path(part) / WEIGHTS, Path(model) / "model.safetensors"):
        held = bytearray(file.read_bytes())
        held[-7] ^= 1
        file.write_bytes(held)
    with pytest.raises(InputError, match="digest differs"):
        combine([part], tmp_path / "out")
    with pytest.raises(InputError, match="digest differs"):
        combine([model], tmp_path / "out")


def test_another_framing_is_told(write: Write, tmp_path: Path) -> None:
    parts = [
        write("a", record={"chat_template": "auto", "system": None}),
        write("b", record={"chat_template": "auto", "system": "Be brief."}),
    ]
    made = combine(parts, tmp_path / "out")
    assert made.notes == (
        f"{parts[1]} was trained with another system text than {parts[0]}; the result uses the "
        "latter's.",
    )
    assert json.loads((tmp_path / "out" / OURS).read_text())["system"] is None


def test_bases_held_otherwise_are_not_mixed(write: Write, tmp_path: Path) -> None:
    parts = [write("a"), write("b")]
    file = Path(parts[1]) / OURS
    ours = json.loads(file.read_text())
    ours["base"]["quantised"] = "nf4"
    file.write_text(json.dumps(ours))
    with pytest.raises(InputError, match=r"held in nf4, and .* in full"):
        combine(parts, tmp_path / "out")
    combine(parts[1:], tmp_path / "one")
    assert open_adapter(tmp_path / "one").quantised == "nf4"

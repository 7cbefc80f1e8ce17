"""Tokens added to a model: through a whole run, and in everything that is done with its adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import brulee as api
from brulee import pipeline
from brulee.errors import InputError
from brulee.methods.adapter_files import CONFIG, WEIGHTS
from brulee.models.loading import load_base
from brulee.recipe import load_recipe
from brulee.training.recorder import Recorder

TURNS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|over|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|user|>", "<|assistant|>", "<|over|>"]
ROWS = [{"q": f"Which number is {i}?", "a": f"<say>{i}</say>"} for i in range(24)]
WHOLE = {"rank": 2, "train_whole": ["embed_tokens", "lm_head"]}
PROMPT = "Which number is 7?"


@pytest.fixture
def added(at: Any, tmp_path: Path) -> Any:
    """A recipe that teaches a model a chat format and tags of its own."""
    (tmp_path / "turns.jinja").write_text(TURNS)
    at.rows(ROWS)
    at.recipe["model"] = {
        "name": str(at.model),
        "chat_template": "turns.jinja",
        "add_tokens": ["<say>", "</say>"],
        "add_special_tokens": SPECIAL,
    }
    at.recipe["data"]["templates"] = {"prompt": "{{ q }}", "completion": "{{ a }}"}
    at.recipe["train"] |= {"learning_rate": 0.02, "epochs": 3}
    return at


def answers(target: str) -> list[str]:
    """What it writes, token by token, so that a difference shows."""
    model = api.load(target, device="cpu", precision="float32")
    found: list[str] = model.complete([PROMPT], max_new_tokens=8, raw=True)
    return found


def test_a_run_with_new_tokens_is_used_everywhere(added: Any, brulee: Any, once: Any) -> None:
    once("run", added.write())
    run = Path("runs/recipe")
    config = json.loads((run / "adapter" / CONFIG).read_text())
    every = [*range(300, 305)]
    assert config["trainable_token_indices"] == {"embed_tokens": every, "lm_head": every}
    names = {file.name for file in (run / "adapter").iterdir()}
    assert names > {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    rows = load_file(run / "adapter" / WEIGHTS)
    (trained,) = (t for key, t in rows.items() if "embed_tokens.token_adapter" in key)
    start = load_base(str(added.model), torch.float32, torch.device("cpu"), tokens=_tokens(run))
    before = start.model.get_input_embeddings().weight[300:305]
    assert ((trained - before).abs().amax(1) > 1e-3).all(), "a new row was not trained"

    encoder = api.load(str(run), device="cpu").encoder
    assert encoder.encode_prompt("a<|over|>")[0] == 302
    assert encoder.encode_prompt("a<|over|>").count(304) == 1, "a row became a control token"
    ours = answers("runs/recipe")
    done = brulee("adapters", "merge", "runs/recipe", "--out", "merged", "--dtype", "float32")
    assert done.code == 0, done.err
    merged = load_base("merged", torch.float32, torch.device("cpu"))
    assert merged.model.config.vocab_size == 305 == len(merged.tokenizer)
    assert answers("merged") == ours
    for command in (
        f"generate {run} --prompt hello",
        f"adapters inspect {run}",
        f"adapters diff {run} {run}",
        f"methods count {run}",
        f"report {run}",
        "data inspect recipe.yaml",
    ):
        done = brulee(*command.split())
        assert done.code == 0, done.err
    for command, said in (
        (f"export {run} --to gguf-lora --out a.gguf", "rows of tokens, which a GGUF adapter"),
        (f"combine {run} {run} --out c", "it has rows of tokens"),
    ):
        done = brulee("adapters", *command.split())
        assert done.code == 2
        assert said in done.errors[0]


def _tokens(run: Path) -> Any:
    from brulee.methods.checkpoint import open_adapter

    return open_adapter(run / "adapter").tokens


@pytest.mark.parametrize("method", [{}, WHOLE], ids=["rows", "whole"])
def test_a_killed_training_goes_on_to_the_same_bytes(
    added: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch, method: dict[str, Any]
) -> None:
    recipe = added.write(train__save_every=2, method={"name": "lora", **method})
    assert brulee("train", recipe, "--folder", "runs/whole").code == 0
    written = Recorder.step

    def cut(recorder: Recorder, step: int, **values: Any) -> None:
        written(recorder, step, **values)
        if step == 3:
            raise SystemError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "step", cut)
        with pytest.raises(SystemError):
            pipeline.train(load_recipe(recipe), folder="killed")
    done = brulee("resume", "killed")
    assert done.code == 0, done.err
    both = (Path(run, "adapter", WEIGHTS).read_bytes() for run in ("runs/whole", "killed"))
    assert len({*both}) == 1


@pytest.mark.parametrize(
    "method",
    [
        {"name": "lora"},
        *(
            pytest.param(method, marks=pytest.mark.slow)
            for method in ({"name": "ia3"}, {"name": "prompt"}, {"name": "lora", **WHOLE})
        ),
    ],
    ids=str,
)
def test_a_start_brings_its_tokens(
    added: Any, brulee: Any, once: Any, method: dict[str, Any]
) -> None:
    once("train", added.write(method=method), "--folder", "runs/a")
    added.recipe["model"] = {"name": str(added.model), "chat_template": "turns.jinja"}
    still = {"train__learning_rate": 1e-30, "train__max_steps": 1}
    done = brulee("run", added.write("b.yaml", method={"start": "runs/a"}, **still))
    assert done.code == 0, done.err
    first, second = (load_file(Path(run, "adapter", WEIGHTS)) for run in ("runs/a", "runs/b"))
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[key], second[key], rtol=0, atol=1e-20) for key in first)
    assert answers("runs/a") == answers("runs/b")
    done = brulee("train", "b.yaml", "--folder", "c", "--set", "method.train_whole=[lm_head]")
    if "train_whole" in method:  # named by its whole paths, and by their ends
        assert json.loads(Path("runs/b/adapter", CONFIG).read_text())["modules_to_save"] == [
            "model.embed_tokens",
            "lm_head",
        ]
    assert done.code == 2
    assert "what runs/a, from which training starts, has trained beside its method" in done.err
    shutil.rmtree("runs/a")
    done = brulee("run", "b.yaml")
    assert done.code == 0, done.err
    done = brulee("methods", "count", "runs/b")
    assert done.code == 0, done.err


def test_whole_tables_are_merged_with_their_new_tokens(added: Any, brulee: Any, once: Any) -> None:
    once("train", added.write(method={"name": "lora", **WHOLE}))
    stored = load_file(Path("runs/recipe/adapter", WEIGHTS))
    assert stored["base_model.model.lm_head.weight"].shape[0] == 305
    assert not any("token_adapter" in key for key in stored), "rows of a table trained whole"
    ours = answers("runs/recipe")
    done = brulee("adapters", "merge", "runs/recipe", "--out", "merged", "--dtype", "float32")
    assert done.code == 0, done.err
    assert answers("merged") == ours
    held = api.load_adapters({"a": "runs/recipe"}, device="cpu", precision="float32")
    assert held.apart == {}
    assert held.complete([PROMPT], ["a"], max_new_tokens=8, raw=True) == ours


def test_full_tuning_stores_the_larger_model(added: Any, brulee: Any) -> None:
    done = brulee("run", added.write(method={"name": "full"}, train__max_steps=2))
    assert done.code == 0, done.err
    base = load_base("runs/recipe/model", torch.float32, torch.device("cpu"))
    assert len(base.tokenizer) == base.model.config.vocab_size == 305
    settings = base.model.generation_config
    assert settings is not None
    over = base.tokenizer.convert_tokens_to_ids("<|over|>")
    assert settings.eos_token_id == [2, over], "other tools would not stop"
    done = brulee("generate", "runs/recipe", "--prompt", PROMPT)
    assert done.code == 0, done.err


def test_an_encoder_decoder_gets_tokens_too(added: Any, brulee: Any, tiny_t5_folder: Path) -> None:
    added.recipe["model"] = {"name": str(tiny_t5_folder), "add_tokens": ["<say>", "</say>"]}
    done = brulee("run", added.write(train__max_steps=2))
    assert done.code == 0, done.err
    config = json.loads(Path("runs/recipe/adapter", CONFIG).read_text())
    assert config["trainable_token_indices"] == [300, 301]
    ours = answers("runs/recipe")
    done = brulee("adapters", "merge", "runs/recipe", "--out", "merged", "--dtype", "float32")
    assert done.code == 0, done.err
    assert answers("merged") == ours


def test_adapters_of_one_vocabulary_share_a_base_and_others_are_refused(
    added: Any, brulee: Any, once: Any
) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        once("train", added.write(train__seed=seed), "--folder", f"runs/{name}")
    plain = {"name": str(added.model), "chat_template": "turns.jinja"}
    once("train", added.write(model=plain), "--folder", "runs/plain")
    held = api.load_adapters({"a": "runs/a", "b": "runs/b"}, device="cpu", precision="float32")
    assert held.apart == {}, "they take separate passes"
    alone = [*answers("runs/a"), *answers("runs/b")]
    assert held.complete([PROMPT] * 2, ["a", "b"], max_new_tokens=8, raw=True) == alone
    assert alone[0] != alone[1]
    with pytest.raises(
        InputError, match=r"do not share a vocabulary: 'a' .* 'plain' with no token"
    ):
        api.load_adapters({"a": "runs/a", "plain": "runs/plain"}, device="cpu")
    with pytest.raises(InputError, match=r"trained with no token added, but .* was loaded with"):
        held.add("plain", "runs/plain")
    assert held.names == ["a", "b"]


@pytest.mark.parametrize(
    ("model", "method", "said"),
    [
        ({"add_tokens": [""]}, {}, "'' is no token: it is empty"),
        ({"add_tokens": ["two words"]}, {}, "without spaces"),
        ({"add_tokens": ["<a>", "<a>"]}, {}, "names '<a>' twice"),
        ({"add_tokens": ["<a>"], "add_special_tokens": ["<a>"]}, {}, "name it once"),
        ({"add_tokens": ["he"]}, {}, "'he' is an ordinary piece"),
        ({}, {"train_tokens": ["<|im_star|>"]}, "did you mean '<|im_start|>'"),
        ({}, {"train_tokens": [300]}, "no token has the id 300; valid: 0 to 299"),
        ({}, {"name": "full", "train_tokens": [5]}, "method full trains everything"),
        ({"add_tokens": ["<a>"]}, {"target": ["embeddings"]}, "leave it out of the target"),
        ({}, {"train_whole": ["lm_hed"]}, "no module is called 'lm_hed'; did you mean 'lm_head'?"),
        ({}, {"train_whole": ["q_proj"]}, "q_proj' is changed by the method itself"),
        ({}, {"train_whole": ["rotary_emb"]}, "no module is called 'rotary_emb'"),
        ({}, {"name": "full", "train_whole": ["lm_head"]}, "method full trains everything"),
    ],
)
def test_tokens_that_cannot_be_added_or_trained_are_refused(
    at: Any, brulee: Any, model: dict[str, Any], method: dict[str, Any], said: str
) -> None:
    named = {"name": str(at.model), **model}
    done = brulee("train", at.write(model=named, method={"name": "lora", **method}))
    assert done.code == 2
    assert said in done.errors[0]
    assert "recipe.yaml" in done.errors[0]


def test_what_adding_a_token_does_not_do_is_said(at: Any, brulee: Any) -> None:
    model = {"name": str(at.model), "add_special_tokens": ["<|im_end|>", "<|unused|>"]}
    done = brulee("train", at.write(model=model, method={"name": "lora", "train_tokens": [4]}))
    assert done.code == 0, done.err
    said = " ".join(done.err.split())
    assert "'<|im_end|>': in this model's vocabulary already" in said
    assert "the chat template does not write '<|unused|>'" in said
    config = json.loads(Path("runs/recipe/adapter", CONFIG).read_text())
    assert config["trainable_token_indices"]["lm_head"] == [300, 4]

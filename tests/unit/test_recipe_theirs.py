"""Configurations of other tools become recipes that say the same, and what is lost is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from brulee.data.corpus import open_corpus
from brulee.errors import InputError
from brulee.methods import build_method
from brulee.recipe import (
    DataSpec,
    MixtureSpec,
    ModelSpec,
    Recipe,
    load_recipe,
    recipe_from_dict,
)
from brulee.recipe.theirs.writing import Written, written
from brulee.training.optim import check_optimizer

LLAMA_FACTORY = """
model_name_or_path: base/model
stage: sft
finetuning_type: lora
lora_rank: 16
lora_target: q_proj,v_proj
dataset: mine,other
template: llama3
cutoff_len: 1024
max_samples: 500
preprocessing_num_workers: 16
output_dir: saves/chat/sft
logging_steps: 10
save_steps: 200
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 2.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
val_size: 0.1
eval_strategy: steps
eval_steps: 50
"""
AXOLOTL = """
base_model: base/model
load_in_4bit: true
adapter: qlora
datasets:
  - path: alpaca.jsonl
    type: alpaca
  - path: chats.jsonl
    type: chat_template
    field_messages: talk
    message_property_mappings: {role: from, content: value}
    split: train[:100]
    shards: 4
  - path: json
    data_files: [questions.jsonl]
    type: {field_instruction: question, field_output: answer, format: "Q: {instruction}\\nA:"}
sequence_len: 4096
sample_packing: true
lora_r: 32
lora_alpha: 64
lora_target_linear: true
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 3
optimizer: paged_adamw_8bit
lr_scheduler: constant_with_warmup
learning_rate: "2e-4"
warmup_steps: 10
train_on_inputs: true
wandb_project: chats
wandb_api_key: not-to-be-shown
"""
TRL = """
model_name_or_path: base/model
dataset_name: owner/rows
dataset_config: small
use_peft: true
lora_r: 32
lora_target_modules: [q_proj, v_proj]
max_steps: 200
warmup_steps: 20
per_device_train_batch_size: 4
completion_only_loss: true
gradient_checkpointing: true
report_to: [tensorboard, trackio]
"""
UNSLOTH = """
model: base/model
data:
  local_dataset: [rows.jsonl]
  format_type: auto
training:
  training_type: lora
  max_seq_length: 512
  load_in_4bit: false
  num_epochs: 1
  batch_size: 2
  gradient_accumulation_steps: 4
  max_steps: 0
  warmup_steps: 0
  random_seed: 3407
lora:
  lora_r: 64
  lora_alpha: 16
  target_modules: "q_proj,k_proj"
  use_rslora: true
logging:
  enable_wandb: false
  wandb_project: unsloth-training
"""


def converted(text: str, folder: Path) -> tuple[Recipe, Written]:
    file = folder / "theirs.yml"
    file.write_text(text, encoding="utf-8")
    found = written(file)
    (folder / "ours.yaml").write_text(found.text, encoding="utf-8")
    return load_recipe(folder / "ours.yaml"), found


def refusal(text: str, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        converted(text, folder)
    return str(caught.value).replace(str(folder), "HERE")


def train(recipe: Recipe, *keys: str) -> list[Any]:
    return [getattr(recipe.train, key) for key in keys]


def left(found: Written) -> set[str]:
    return {one.key for one in found.left if one.matters}


def test_llama_factory_keeps_its_data_batch_and_targets(tmp_path: Path) -> None:
    recipe, found = converted(LLAMA_FACTORY, tmp_path)
    assert found.tool == "LLaMA-Factory"
    assert recipe.model == "base/model"
    assert (recipe.name, recipe.runs) == ("sft", "saves/chat")
    assert recipe.method.model_dump() == {
        "name": "lora",
        "rank": 16,
        "target": ["q_proj", "v_proj"],
        "alpha": 32,  # its default is twice the rank
    }
    assert [task.source for _, task in recipe.tasks] == [
        "data/dataset_info.json:mine",
        "data/dataset_info.json:other",
    ]
    assert {(t.limit, t.split.validation, t.split.test) for _, t in recipe.tasks} == {
        (500, 0.1, 0.15)
    }
    assert train(recipe, "batch_size", "accumulation", "epochs", "max_length") == [16, 1, 2.0, 1024]
    assert train(recipe, "schedule", "warmup", "learning_rate") == ["cosine", 0.1, 1e-4]
    assert train(recipe, "validate_every", "save_every", "precision") == [50, 200, "bfloat16"]
    assert left(found) == {"template"}


@pytest.mark.parametrize(
    ("text", "more", "validated", "saved"),
    [
        (AXOLOTL, "evals_per_epoch: 4\nsaves_per_epoch: 3\n", 0.25, 1 / 3),
        (AXOLOTL, "evals_per_epoch: 1\nsaves_per_epoch: 0\n", None, None),
        # A ratio is of all steps there, here of three epochs.
        (AXOLOTL, "eval_steps: 0.1\nsave_steps: 0.3333333333\n", 0.3, None),
        (AXOLOTL, "eval_steps: 5.0\nsave_steps: 0\n", 5, None),
        (AXOLOTL, "max_steps: 25\neval_steps: 0.1\nsave_steps: 0.5\n", 3, 13),
        (AXOLOTL, "eval_strategy: epoch\neval_steps: 9\nsave_strategy: epoch\n", None, None),
        (TRL, "num_train_epochs: 2\neval_strategy: steps\nlogging_steps: 7\n", 7, None),
        (TRL, "num_train_epochs: 0.5\neval_strategy: steps\neval_steps: 0.5\n", 0.25, None),
    ],
)
def test_how_often_it_validates_and_saves_is_carried_over(
    tmp_path: Path, text: str, more: str, validated: float | None, saved: float | None
) -> None:
    if "epochs" in more:
        text = text.replace("max_steps: 200\n", "")
    held = "test_split_size: 0.1\n" if text.startswith(TRL[:20]) else "val_set_size: 0.1\n"
    recipe, found = converted(f"{text}{held}{more}", tmp_path)
    assert train(recipe, "validate_every", "save_every") == [validated, saved]
    given = {line.partition(":")[0] for line in more.splitlines()} - {"logging_steps"}
    ignored = {one.key for one in found.left if one.key in given and not one.matters}
    assert ignored == ({"eval_steps"} if "eval_steps: 9" in more else set())


def test_an_interval_of_more_than_an_epoch_is_told(tmp_path: Path) -> None:
    _, found = converted(f"{AXOLOTL}val_set_size: 0.1\neval_steps: 0.5\n", tmp_path)
    why = {one.key: one.why for one in found.left}
    expected = "train.validate_every: 1.5 epochs; beyond one, give a number of steps"
    assert why["eval_steps"] == expected


def test_axolotl_keeps_its_entries_and_tells_what_packs_change(tmp_path: Path) -> None:
    recipe, found = converted(AXOLOTL, tmp_path)
    assert found.tool == "axolotl"
    assert isinstance(recipe.model, ModelSpec)
    assert recipe.model.quantise == "nf4"
    assert recipe.method.options() == {"rank": 32, "alpha": 64, "target": "all-linear"}
    alpaca, chats, questions = (task for _, task in recipe.tasks)
    assert (alpaca.source, alpaca.templates) == ("alpaca.jsonl", None)
    assert (chats.source, chats.columns, chats.limit) == ("chats.jsonl", {"messages": "talk"}, 100)
    assert questions.source == "questions.jsonl"
    assert questions.templates == {"prompt": "Q: {{question}}\nA:", "completion": "{{answer}}"}
    assert train(recipe, "batch_size", "epochs", "max_length") == [8, 3, 4096]
    assert train(recipe, "optimizer", "schedule", "learning_rate") == [
        *("paged_adamw8bit", "constant", 2e-4)
    ]
    assert recipe.train.trackers == ["wandb"]
    assert recipe.train.warmup == 10
    assert recipe.train.prompt_loss_weight == 1
    assert left(found) == {"sample_packing", "datasets.1.shards"}
    assert "not-to-be-shown" not in found.text
    assert {one.key for one in found.left if "project" in one.key} == {"wandb_project"}


def test_a_padding_token_is_not_dropped_silently(tmp_path: Path) -> None:
    _, found = converted(f'{AXOLOTL}special_tokens: {{pad_token: "<|pad|>"}}\n', tmp_path)
    kept = [one for one in found.left if one.key == "special_tokens.pad_token"]
    assert [(one.value, one.matters) for one in kept] == [("<|pad|>", False)]


def test_trl_ends_at_its_steps_and_takes_its_own_defaults(tmp_path: Path) -> None:
    recipe, found = converted(TRL, tmp_path)
    assert found.tool == "TRL"
    assert recipe.tasks[0][1].source == "owner/rows:small"
    assert recipe.method.options() == {
        "rank": 32,
        "alpha": 32,
        "dropout": 0.05,
        "target": ["q_proj", "v_proj"],
    }
    # There max_steps goes round the rows as often as it takes, whatever the epochs.
    assert train(recipe, "max_steps", "epochs", "warmup") == [200, 1000, 20]
    assert train(recipe, "learning_rate", "schedule", "max_length") == [2e-5, "linear", 1024]
    assert recipe.train.batch_size == 4
    assert recipe.train.trackers == ["tensorboard"]
    assert left(found) == {"assistant_only_loss"}


@pytest.mark.parametrize(
    "given", ["[experts.down_proj, router.weight]", "experts.down_proj,router.weight"]
)
def test_parameters_of_experts_are_targets_too(given: str, tmp_path: Path) -> None:
    recipe, _ = converted(f"{TRL}lora_target_parameters: {given}\n", tmp_path)
    weights = ["parameter:experts.down_proj", "parameter:router.weight"]
    assert recipe.method.options()["target"] == ["q_proj", "v_proj", *weights]
    (tmp_path / "alone").mkdir()
    alone = TRL.replace("lora_target_modules: [q_proj, v_proj]", "lora_target_modules: all-linear")
    recipe, _ = converted(f"{alone}lora_target_parameters: {given}\n", tmp_path / "alone")
    assert recipe.method.options()["target"] == ["all-linear", *weights]


def test_unsloths_sections_are_read(tmp_path: Path) -> None:
    recipe, found = converted(UNSLOTH, tmp_path)
    assert found.tool == "Unsloth"
    assert recipe.model == "base/model"
    assert recipe.tasks[0][1].source == "rows.jsonl"
    assert recipe.method.options() == {
        "rank": 64,
        "alpha": 16,
        "target": ["q_proj", "k_proj"],
        "rslora": True,
    }
    assert train(recipe, "batch_size", "epochs", "max_length", "seed") == [8, 1, 512, 3407]
    assert train(recipe, "warmup", "weight_decay", "max_steps") == [0, 0.01, None]
    assert recipe.train.trackers == []
    assert left(found) == {"train_on_completions"}


@pytest.mark.parametrize("text", [LLAMA_FACTORY, AXOLOTL, TRL, UNSLOTH])
def test_every_key_is_in_the_recipe_or_in_its_comments(text: str, tmp_path: Path) -> None:
    _, found = converted(f"{text}\nsomething_new: 7\n", tmp_path)
    assert "#   something_new: 7: not known here" in found.text
    assert "something_new" in left(found)


@pytest.mark.parametrize("given", ["500", "500.0", "1"])
@pytest.mark.parametrize("key", ["val_set_size", "val_size"])
def test_a_number_of_validation_rows_stays_one(key: str, given: str, tmp_path: Path) -> None:
    text = AXOLOTL if key == "val_set_size" else LLAMA_FACTORY.replace("val_size: 0.1\n", "")
    recipe, found = converted(f"{text}{key}: {given}\n", tmp_path)
    assert {spec.split.validation for _, spec in recipe.tasks} == {int(float(given))}
    assert key not in left(found)


def test_data_sets_to_evaluate_on_are_splits(tmp_path: Path) -> None:
    recipe, found = converted(
        LLAMA_FACTORY.replace("val_size: 0.1", "eval_dataset: held,more")
        + "load_best_model_at_end: true\n",
        tmp_path,
    )
    info = "data/dataset_info.json"
    mine, other = recipe.data.tasks
    held = f"validation={info}:held,validation={info}:more"
    assert mine.source == f"train={info}:mine,{held}"
    assert other.source == f"{info}:other"
    assert train(recipe, "validate_every", "keep_best") == [50, True]
    assert not left(found) & {"eval_dataset", "train.keep_best", "train.validate_every"}
    entry = "{path: held.jsonl, ds_type: json, type: alpaca, split: SPLIT}"
    text = "".join(line for line in AXOLOTL.splitlines(True) if not line.startswith("val_set"))
    for split, there in (("train", "validation"), ("test", "test")):
        listing = f"test_datasets: [{entry.replace('SPLIT', split)}]\n"
        recipe, found = converted(text + listing, tmp_path)
        assert recipe.data.tasks[0].source == f"train=alpaca.jsonl,{there}=held.jsonl"
        assert not [key for key in left(found) if key.startswith("test_datasets")]
    assert found.text.count("test: 0.15") == len(recipe.data.tasks) - 1
    _, found = converted(f"{text}test_datasets: [{{path: a.jsonl, type: completion}}]\n", tmp_path)
    assert "test_datasets: a.jsonl" in left(found)


def test_entries_of_one_file_are_tasks_of_their_own_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    info = {name: {"file_name": f"{name}.jsonl"} for name in ("mine", "other", "held")}
    (tmp_path / "data/dataset_info.json").write_text(json.dumps(info))
    for name in info:
        rows = [{"instruction": f"{name} {i}?", "output": f"{i * i}."} for i in range(20)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"data/{name}.jsonl").write_text(text)
    theirs = LLAMA_FACTORY.replace("val_size: 0.1", "eval_dataset: held")
    recipe, _ = converted(theirs, tmp_path)
    corpus = open_corpus(recipe)
    assert list(corpus.tasks) == ["mine", "other"]
    assert [len(task.validation) for task in corpus.tasks.values()] == [20, 0]


@pytest.mark.parametrize(
    "text",
    [
        LLAMA_FACTORY.replace("stage: sft", "stage: pt"),
        AXOLOTL.replace("type: alpaca", "type: completion"),
    ],
)
def test_plain_text_is_not_judged_as_an_answer(text: str, tmp_path: Path) -> None:
    recipe, found = converted(text, tmp_path)
    assert recipe.evaluate.metrics is None
    assert "metrics" not in found.text


def test_a_folder_called_by_a_rate_is_a_name_and_no_number(tmp_path: Path) -> None:
    text = LLAMA_FACTORY.replace("saves/chat/sft", "saves/2e-4")
    assert converted(text, tmp_path)[0].name == "2e-4"


def test_a_model_that_is_tuned_whole_loses_loras_options(tmp_path: Path) -> None:
    text = LLAMA_FACTORY.replace("finetuning_type: lora", "finetuning_type: full")
    recipe, _ = converted(text, tmp_path)
    assert recipe.method.model_dump() == {"name": "full"}


def test_frozen_layers_are_selective(tmp_path: Path) -> None:
    text = LLAMA_FACTORY.replace("finetuning_type: lora", "finetuning_type: freeze")
    recipe, _ = converted(f"{text}\nfreeze_trainable_layers: 3", tmp_path)
    assert recipe.method.model_dump() == {
        "name": "selective",
        "train": "layers",
        "layers": {"last": 3},
    }


def test_unfrozen_parameters_are_selective(tmp_path: Path, make_model: Any) -> None:
    patterns = [
        "^lm_head.weight$",
        "model.layers.[1]+.mlp.[a-z]+|model.norm",
        "model.embed_tokens.weight[:9]",
    ]
    text = "".join(line for line in AXOLOTL.splitlines(True) if not line.startswith("adapter"))
    text = text.replace("load_in_4bit: true", "")
    recipe, found = converted(f"{text}unfrozen_parameters: {json.dumps(patterns)}\n", tmp_path)
    assert recipe.method.name == "selective"
    model = make_model("llama")
    attached = build_method(recipe.method).attach(model)
    names = [n.removesuffix("_tuned") for n, p in model.named_parameters() if p.requires_grad]
    # By axolotl's own rule: re.match, with dots escaped.
    rules = [re.compile(p.split("[:")[0].replace(".", r"\.")) for p in patterns]
    attached.detach()
    every = [n for n, _ in model.named_parameters()]
    assert sorted(names) == sorted(n for n in every if any(rule.match(n) for rule in rules))
    assert len(names) == 6
    assert [one.value for one in found.left if one.key == "unfrozen_parameters"] == [patterns[2]]


def test_data_sets_drawn_by_probability_keep_it(tmp_path: Path) -> None:
    more = "\nmix_strategy: interleave_under\ninterleave_probs: 0.7,0.3"
    recipe, _ = converted(LLAMA_FACTORY + more, tmp_path)
    assert isinstance(recipe.data, MixtureSpec)
    assert recipe.data.mix.kind == "weights"
    assert [task.weight for _, task in recipe.tasks] == [0.7, 0.3]


def test_files_beside_the_configuration_are_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "rows.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    Path("deep/theirs.yml").write_text(UNSLOTH)
    assert "source: deep/rows.jsonl" in written(Path("deep/theirs.yml")).text


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (LLAMA_FACTORY.replace("stage: sft", "stage: pt"), {"text": "instruction"}),
        (AXOLOTL.replace("type: alpaca", "type: completion"), {}),
        (AXOLOTL.replace("type: alpaca", "type: completion\n    field: body"), {"text": "body"}),
        (UNSLOTH.replace("auto", "raw"), {}),
    ],
    ids=["llama-factory", "axolotl", "axolotl-field", "unsloth"],
)
def test_plain_text_there_is_plain_text_here(
    text: str, columns: dict[str, str], tmp_path: Path
) -> None:
    recipe, found = converted(text, tmp_path)
    _, task = recipe.tasks[0]
    assert (task.templates, task.columns) == ("plain-text", columns)
    assert "every piece is a document" in found.text
    assert ("a .txt file there is one document per line" in found.text) is ("stage: pt" in text)
    assert "field" not in {one.key for one in found.left}


def test_an_entry_of_plain_text_is_read(tmp_path: Path) -> None:
    info = {"wiki": {"file_name": "wiki.jsonl", "columns": {"prompt": "body"}}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    rows = [{"body": f"Page {i} says that {i * i} is its square."} for i in range(20)]
    (tmp_path / "wiki.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"source": f"{tmp_path}/dataset_info.json:wiki", "templates": "plain-text"}
    recipe = recipe_from_dict({"data": source | {"columns": {"text": "instruction"}}})
    (task,) = open_corpus(recipe).tasks.values()
    assert task.plain
    assert task.rows[3]["text"] == rows[3]["body"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            LLAMA_FACTORY.replace("stage: sft", "stage: dpo"),
            "HERE/theirs.yml, line 3: stage: dpo is learning from preferences (DPO), and brulee "
            "tunes on instructions with their answers, or on plain text (sft, pt).",
        ),
        (f"{AXOLOTL}rl: kto", "line 32: rl: kto is learning from preferences or rewards"),
        (f"{TRL}reward_funcs: [accuracy]", "line 14: reward_funcs is for learning from rewards"),
        (f"{LLAMA_FACTORY}freeze_vision_tower: true", "is for images, videos or sound"),
        (
            AXOLOTL.replace("type: alpaca", "type: pretrain"),
            "line 5: datasets.0: type: pretrain is plain text that is read as a stream",
        ),
        (
            AXOLOTL.replace("role: from", "role: speaker"),
            "datasets.1: the keys of a turn are role with content or from with value, not speaker",
        ),
        (
            LLAMA_FACTORY.replace("_type: lora", "_type: oft"),
            "line 4: finetuning_type: oft is no method here; lora, qlora, full and freeze are",
        ),
        (
            LLAMA_FACTORY.replace("epochs: 2.0", "epochs: -1"),
            "line 18: train.epochs = -1 is not valid: it should be greater than 0.",
        ),
        (
            AXOLOTL.replace("micro_batch_size: 2", "micro_batch_size: two"),
            "micro_batch_size: 'two' is not a number.",
        ),
        (AXOLOTL.replace("base_model", "#"), "no model is named"),
        (AXOLOTL.replace("learning_rate", "#"), "axolotl needs a learning_rate."),
        (
            f"{AXOLOTL.replace('learning_rate', '#')}max_steps: 9\n",
            "axolotl needs a learning_rate.",
        ),
        (
            re.sub("learning_rate: .*", "learning_rate: fast", AXOLOTL),
            "learning_rate: 'fast' is not a number.",
        ),
        (f"{LLAMA_FACTORY}warmup_steps: -1\n", "theirs.yml: train.warmup = -1 is not valid"),
        (
            LLAMA_FACTORY.replace("ratio: 0.1", "ratio: -1"),
            "line 20: train.warmup = -1 is not valid",
        ),
        (
            LLAMA_FACTORY.replace("samples: 500", "samples: -1"),
            "line 10: data.tasks.0.limit = -1 is not valid",
        ),
        (AXOLOTL.replace("path: json", "path: owner/rows"), "datasets.2: data_files of a data set"),
        (AXOLOTL.replace("data_files", "columns"), "datasets.2: path: json needs data_files."),
        (
            AXOLOTL.replace("{field_instruction", "{field_system: s, field_instruction"),
            "datasets.2: type.field_system is not read; write data.templates",
        ),
        (AXOLOTL.replace("shards: 4", "roles_to_train: 5"), "datasets.1: 5 is not a list of names"),
        (
            AXOLOTL.replace("{role: from, content: value}", "from"),
            "datasets.1: message_property_mappings: 'from' is not a mapping.",
        ),
        (
            "base_model: m\nlearning_rate: 1\ndatasets: a.jsonl\n",
            "line 3: datasets has to be a list of entries",
        ),
        (
            "base_model: m\nlearning_rate: 1\ndatasets: [5]\n",
            "datasets.0: an entry is a mapping with a path.",
        ),
        (TRL.replace("dataset_name", "#"), "no data set is named"),
        ("model: bundled\ndata: {source: rows.jsonl}", "this is a recipe already"),
        ("colour: red", "none of its keys is known of a configuration of LLaMA-Factory, axolotl"),
        ("- 1", "it has no keys"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_line(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(text, tmp_path)


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("", "base_model", "x", "here it is 'model'."),
        ("", "load_in_4bit", True, "here it is 'model.quantise: \"nf4\"' (in four bits)."),
        ("", "val_set_size", 0.1, "here it is 'data.split.validation: 0.1' (a share of the rows"),
        ("", "val_set_size", 500, "here it is 'data.split.validation: 500' (a share of the rows"),
        ("", "output_dir", "x", "here it is 'name' (the run's folder under `runs`, or --folder)."),
        ("method", "lora_r", 16, "here it is 'method.rank: 16'."),
        ("method", "rank_pattern", {"q_proj": 8}, "'method.ranks: {\"q_proj\": 8}' (by pattern)."),
        ("method", "init_lora_weights", "pissa_niter_4", "here it is 'method.init: \"pissa\"'"),
        ("method", "use_dora", False, "here it is 'method.dora'."),
        ("method", "lora_target_modules", "all", "here it is 'method.target: \"all-linear\"'."),
        ("train", "cutoff_len", 512, "here it is 'train.max_length: 512' (tokens; of a longer "),
        ("train", "per_device_train_batch_size", 2, "here it is 'train.batch_size: 2' (documents "),
        ("train", "warmup_steps", 10, "here it is 'train.warmup: 10' (from 1 on a number of "),
        ("train", "lr_scheduler_type", "constant_with_warmup", "'train.schedule: \"constant\"'."),
        ("train", "optim", "lion_8bit", "here it is 'train.optimizer', but 'lion_8bit' is none "),
        ("train", "optim", "paged_adamw_32bit", "here it is 'train.optimizer: \"adamw\"'."),
        ("train", "optim", "adafactor", "here it is 'train.optimizer: \"adafactor\"'."),
        ("train", "use_muon", True, "here it is 'train.optimizer: \"muon\"'."),
        ("train", "evals_per_epoch", 4, "'train.validate_every: 0.25' (a share of an epoch)."),
        ("train", "save_steps", 0.1, "'train.save_every', but 0.1 is a share of all steps there"),
        ("train", "bf16", True, "here it is 'train.precision: \"bfloat16\"'."),
        ("train", "packing", True, "it has no counterpart here: passes are packed without padding"),
        ("train", "swanlab_mode", "x", "it has no counterpart here: the trackers are tensorboard"),
        ("evaluate", "temperature", 0, "here it is 'evaluate.generation.temperature'."),
        ("data", "template", "x", "did you mean 'templates'?"),
    ],
)
def test_a_key_of_another_tool_is_told_by_what_it_is_here(
    section: str, key: str, value: Any, said: str
) -> None:
    values: dict[str, Any] = {"data": {"source": "rows.jsonl"}}
    values.setdefault(section, {}).update({key: value}) if section else values.update({key: value})
    with pytest.raises(InputError) as caught:
        _read(values)
    assert f"unknown key '{f'{section}.' if section else ''}{key}'; " in str(caught.value)
    assert said in str(caught.value)


def test_a_file_of_another_tool_is_told_that_it_can_be_converted(tmp_path: Path) -> None:
    file = tmp_path / "theirs.yml"
    file.write_text(TRL)
    with pytest.raises(InputError, match=r"brulee init --from .*theirs.yml` writes a recipe"):
        load_recipe(file)
    file.write_text(json.dumps({"data": {"source": "a"}, "train": {}, "output_dir": "x"}))
    with pytest.raises(InputError) as caught:
        load_recipe(file)
    assert "--from" not in str(caught.value)


def _read(values: dict[str, Any]) -> None:
    from brulee.methods import build_method

    recipe = recipe_from_dict(values)
    build_method(recipe.method, recipe.source)


def test_words_that_pyyaml_takes_for_true_and_false_are_read_as_there(tmp_path: Path) -> None:
    text = TRL.replace("use_peft: true", "use_peft: no") + "bf16: yes\npacking: off\n"
    recipe, found = converted(text, tmp_path)
    assert recipe.method.name == "full"
    assert recipe.train.precision == "bfloat16"
    assert "packing" not in left(found)


def test_trls_splits_are_told_apart(tmp_path: Path) -> None:
    recipe, found = converted(f"{TRL}test_split_size: 0.1\ndataset_train_split: part\n", tmp_path)
    assert recipe.data.split.validation == 0.1
    assert "datasets.0.split" in left(found)
    recipe, found = converted(f"{TRL}dataset_train_split: 'train[:90]'\n", tmp_path)
    assert recipe.data.limit == 90
    _, found = converted(f"{TRL}dataset_train_split: train\ndataset_test_split: test\n", tmp_path)
    assert not left(found) & {"datasets.0.split", "dataset_test_split"}


def test_another_split_and_a_merged_entry_are_told_apart(tmp_path: Path) -> None:
    entries = "[{<<: {type: alpaca, split: validation}, path: a.jsonl}]"
    text = f"base_model: m\nlearning_rate: 1e-4\nsequence_len: 9\ndatasets: {entries}\n"
    _, found = converted(text, tmp_path)
    assert "datasets.0.split" in left(found)
    assert not any("<<" in one.key for one in found.left)


def test_a_format_by_hand_has_no_chat_template_round_it(tmp_path: Path) -> None:
    text = "base_model: m\nlearning_rate: 1e-4\nsequence_len: 9\ndatasets:\n"
    by_hand = "  - {path: a.jsonl, type: {format: 'Q: {instruction}'}}\n"
    recipe, _ = converted(text + by_hand, tmp_path)
    assert isinstance(recipe.model, ModelSpec)
    assert recipe.model.chat_template == "none"
    other = "  - {path: b.jsonl, type: chat_template}\n"
    recipe, found = converted(text + by_hand + other, tmp_path)
    assert recipe.model == "m"
    assert "its format is all of the prompt there" in found.text


@pytest.mark.parametrize(
    ("kind", "prompt"),
    [
        ("format: 'Q: {instruction}', no_input_format: 'N {instruction}'", "N {{instruction}}"),
        ("system_prompt: 'Be.', format: 'Q: {instruction}'", "Be.Q: {{instruction}}"),
        ("system_prompt: A, system_format: 'S {system} ', format: x", "S A x"),
        ("field_input: i", "{% if i %}{{instruction}} {{i}} {% else %}{{instruction}} {% endif %}"),
    ],
)
def test_a_format_by_hand_is_written_as_axolotl_writes_it(
    kind: str, prompt: str, tmp_path: Path
) -> None:
    entry = f"  - {{path: a.jsonl, type: {{field_output: out, {kind}}}}}\n"
    text = f"base_model: m\nlearning_rate: 1e-4\nsequence_len: 9\ndatasets:\n{entry}"
    recipe, _ = converted(text, tmp_path)
    assert isinstance(recipe.data, DataSpec)
    assert recipe.data.templates == {"prompt": prompt, "completion": "{{out}}"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{LLAMA_FACTORY}model_revision: v2\n", "revision: v2"),
        (f"{LLAMA_FACTORY}quantization_bit: 4\n", "quantise: nf4"),
        (f"{LLAMA_FACTORY}quantization_bit: 8\n", "quantization_bit: 8: model.quantise: 8 is not"),
        (f"{LLAMA_FACTORY}pissa_init: true\n", "init: pissa"),
        (f"{LLAMA_FACTORY}max_grad_norm: 0\n", "max_grad_norm: null"),
        (f"{LLAMA_FACTORY}mix_strategy: interleave_under\n", "mix: {kind: equal}"),
        (f"{LLAMA_FACTORY}lr_scheduler_kwargs: [1]\n", "lr_scheduler_kwargs: [1]: no train."),
        (LLAMA_FACTORY.replace("q_proj,v_proj", "all,q_proj"), "target: all-linear\n"),
        (LLAMA_FACTORY.replace("q_proj,v_proj", "'.*(q|v)_proj'"), 'target: "re:.*(q|v)_proj"'),
        (LLAMA_FACTORY.replace("type: cosine", "type: [cosine]"), "is none of those here: cosine"),
        (f"{LLAMA_FACTORY}chat_template_kwargs: x\n", "model.chat_template_kwargs: 'x' is not a"),
        (f"{TRL}bf16: false\n", "precision: float32"),
        (f"{TRL}fp16: true\n", "fp16: true: train.precision is auto, bfloat16 or float32"),
        (f"{TRL}bf16: 7\n", "bf16: 7: train.precision is auto, bfloat16 or float32"),
        (f"{TRL}fp16: [1]\n", "fp16: [1]: train.precision is auto, bfloat16 or float32"),
        (f"{TRL}lr_scheduler_type: constant\n", "warmup: 0.0  # constant there is without"),
        (f"{TRL}output_dir: out\n", "runs: out  # the run's folder is in it, called as this file"),
        (f"{TRL}target_parameters: [a.b]\n", "parameter:a.b"),
        (TRL.replace("lora_target_modules", "#"), "target: all-linear  # not said there"),
        (AXOLOTL.replace("gradient_acc", "# "), "batch_size: 2  # 2 x 1 packs"),
        (
            AXOLOTL.replace("micro_batch_size", "batch_size"),
            "batch_size: 2: a step there is micro_batch_size x gradient_accumulation_steps",
        ),
    ],
)
def test_a_value_is_carried_over_or_told(text: str, said: str, tmp_path: Path) -> None:
    _, found = converted(text, tmp_path)
    assert said in found.text


@pytest.mark.parametrize("kwargs", ["{min_lr_rate: 0.1}", "{min_lr: 1.0e-5}"])
def test_a_cosine_with_a_floor_keeps_it(tmp_path: Path, kwargs: str) -> None:
    text = LLAMA_FACTORY.replace("_type: cosine", "_type: cosine_with_min_lr")
    recipe, found = converted(f"{text}lr_scheduler_kwargs: {kwargs}\n", tmp_path)
    assert train(recipe, "schedule", "min_rate") == ["cosine", pytest.approx(0.1)]
    assert not left(found) & {"lr_scheduler_type", "lr_scheduler_kwargs"}
    recipe, _ = converted(f"{AXOLOTL}cosine_min_lr_ratio: 0.2\n", tmp_path)
    assert recipe.train.min_rate == 0.2


@pytest.mark.parametrize(
    ("kind", "kwargs", "expected"),
    [
        ("cosine_with_restarts", "{}", ["cosine", 0.2, 0.0]),
        ("cosine_with_restarts", "{num_cycles: 1}", ["cosine", 0.2, 0.0]),
        ("inverse_sqrt", "{}", ["inverse_sqrt", 0.2, 0.0]),
        ("polynomial", "{}", ["linear", 0.2, 0.0]),
        ("polynomial", "{lr_end: 2.0e-5, power: 1.0}", ["linear", 0.2, 0.1]),
        ("warmup_stable_decay", "{num_decay_steps: 9, decay_type: 1-sqrt}", ["wsd", 9, 0.0]),
        ("warmup_stable_decay", "{num_decay_steps: 9, min_lr_ratio: 0.1}", ["wsd", 9, 0.1]),
    ],
)
def test_schedules_with_settings_are_carried_over(
    tmp_path: Path, kind: str, kwargs: str, expected: list[Any]
) -> None:
    more = f"learning_rate: 2.0e-4\nlr_scheduler_type: {kind}\nlr_scheduler_kwargs: {kwargs}\n"
    text = "".join(line for line in TRL.splitlines(True) if not line.startswith("learning_rate"))
    recipe, found = converted(text + more, tmp_path)
    assert train(recipe, "schedule", "cooldown", "min_rate") == pytest.approx(expected)
    assert not {key for key in left(found) if key.startswith("lr_")}


@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [
        ("cosine_with_restarts", "{num_cycles: 2.5}"),
        ("polynomial", "{power: 2, powder: 3}"),
        ("warmup_stable_decay", "{num_decay_steps: 9, warmup_type: cosine}"),
        ("warmup_stable_decay", "{}"),
        ("cosine_with_min_lr", "{}"),
        ("reduce_lr_on_plateau", "{}"),
    ],
)
def test_schedules_that_are_other_ones_are_told(tmp_path: Path, kind: str, kwargs: str) -> None:
    more = f"lr_scheduler_type: {kind}\nlr_scheduler_kwargs: {kwargs}\n"
    _, found = converted(TRL + more, tmp_path)
    assert "lr_scheduler_type" in left(found)
    assert "schedule: cosine  # another there" in found.text


@pytest.mark.parametrize(
    ("kind", "kwargs", "key", "expected"),
    [
        ("cosine_with_restarts", "{num_cycles: 3}", "num_cycles", ["cosine_with_restarts", 3]),
        ("polynomial", "{power: 2}", "power", ["polynomial", 2]),
        ("warmup_stable_decay", "{num_decay_steps: 9}", "decay_type", ["wsd", "cosine"]),
        *[
            (
                *("warmup_stable_decay", f"{{num_decay_steps: 9, decay_type: {shape}}}"),
                *("decay_type", ["wsd", shape]),
            )
            for shape in ("linear", "1-sqrt")
        ],
    ],
)
def test_the_shape_of_a_schedule_is_carried_over(
    tmp_path: Path, kind: str, kwargs: str, key: str, expected: list[Any]
) -> None:
    more = f"lr_scheduler_type: {kind}\nlr_scheduler_kwargs: {kwargs}\n"
    recipe, found = converted(TRL + more, tmp_path)
    assert train(recipe, "schedule", key) == expected
    assert not {one for one in left(found) if one.startswith("lr_")}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("optim: lion_32bit", ["lion", 0.9, 0.999]),  # what transformers gives bitsandbytes
        ("optim: paged_lion_32bit\nadam_beta2: 0.98", ["lion", 0.9, 0.98]),
        ("optim: lion_32bit\nadam_epsilon: 1.0e-6", ["lion", 0.9, 0.999]),
        ("optim: adafactor\nadam_beta1: 0.8\nadam_beta2: 0.9", ["adafactor", 0.9, None]),
    ],
)
def test_an_optimiser_has_the_settings_that_reach_it_there(
    tmp_path: Path, more: str, expected: list[Any]
) -> None:
    recipe, found = converted(f"{TRL}{more}\n", tmp_path)
    assert train(recipe, "optimizer", "beta1", "beta2") == expected
    check_optimizer(recipe.train, on_gpu=False)
    dropped = {one.key for one in found.left if one.why.endswith(" has none")}
    assert dropped == {
        f"train.{name}"
        for name in ("beta1", "beta2", "epsilon")
        if f"adam_{name}" in more and (expected[0] == "adafactor" or name == "epsilon")
    }


@pytest.mark.parametrize(
    ("more", "rate"),
    [
        ("embedding_lr: 1e-5", 1e-5),
        ("embedding_lr_scale: 0.5", 1e-4),
        ("loraplus_lr_ratio: 16\nloraplus_lr_embedding: 1e-6", 1e-6),
        ("loraplus_lr_embedding: 1e-6", None),
    ],
)
def test_the_rate_of_embeddings_is_carried_over(
    tmp_path: Path, more: str, rate: float | None
) -> None:
    text = "".join(line for line in AXOLOTL.splitlines(True) if not line.startswith("learning_"))
    recipe, found = converted(f"{text}learning_rate: 2e-4\n{more}\n", tmp_path)
    assert train(recipe, "embedding_learning_rate") == [rate]
    assert not {key for key in left(found) if "embedding" in key}


def test_a_schedule_that_is_not_here_is_not_called_the_tools_default(tmp_path: Path) -> None:
    text = LLAMA_FACTORY.replace("_type: cosine", "_type: greedy")
    recipe, found = converted(text, tmp_path)
    assert recipe.train.schedule == "cosine"
    assert "schedule: cosine  # another there" in found.text


def test_unsloth_without_further_keys_has_its_targets_and_its_warmup(tmp_path: Path) -> None:
    text = "model: m\ndata: {local_dataset: [a.jsonl]}\ntraining: {max_steps: 50}\n"
    recipe, found = converted(text, tmp_path)
    assert recipe.train.warmup == 5
    assert len(recipe.method.options()["target"]) == 7
    assert "lora_target_modules" not in left(found)


def test_the_seed_is_not_that_of_the_order_alone(tmp_path: Path) -> None:
    recipe, _ = converted(f"{LLAMA_FACTORY}seed: 7\ndata_seed: 1\n", tmp_path)
    assert recipe.train.seed == 7


def test_noise_moments_and_layers_are_carried_over(tmp_path: Path) -> None:
    more = "neftune_noise_alpha: 5\nadam_beta2: 0.95\nadam_epsilon: 1.0e-6\n"
    recipe, found = converted(f"{LLAMA_FACTORY}{more}layers_to_transform: [0, 2]\n", tmp_path)
    assert train(recipe, "neftune_alpha", "beta1", "beta2", "epsilon") == [5, 0.9, 0.95, 1e-6]
    assert recipe.method.options()["layers"] == [0, 2]
    assert not left(found) & {"neftune_noise_alpha", "adam_beta2", "layers_to_transform"}
    recipe, found = converted(f"{AXOLOTL}noisy_embedding_alpha: 0\n", tmp_path)
    assert recipe.train.neftune_alpha is None
    assert "noisy_embedding_alpha" not in left(found)


@pytest.mark.parametrize(
    "text",
    [
        f"{TRL}chat_template_path: chat.jinja\n",
        f"{AXOLOTL}chat_template: jinja\nchat_template_jinja: chat.jinja\n",
    ],
)
def test_a_chat_template_of_a_file_is_carried_over(tmp_path: Path, text: str) -> None:
    recipe, found = converted(text, tmp_path)
    assert recipe.base.chat_template == "chat.jinja"
    assert not left(found) & {"chat_template", "chat_template_path", "chat_template_jinja"}


def test_variables_of_chat_templates_are_carried_over(tmp_path: Path) -> None:
    recipe, _ = converted(f"{LLAMA_FACTORY}enable_thinking: false\n", tmp_path)
    assert recipe.base.chat_template_kwargs == {"enable_thinking": False}
    more = "chat_template_kwargs: {enable_thinking: true, tone: kind}\n"
    recipe, found = converted(f"{TRL}{more}", tmp_path)
    assert recipe.base.chat_template_kwargs == {"enable_thinking": True, "tone": "kind"}
    assert not left(found) & {"chat_template_kwargs", "enable_thinking"}


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (f"{LLAMA_FACTORY}rope_scaling: yarn", {"rope_type": "yarn", "max_length": 1024}),
        (f"{AXOLOTL}rope_parameters: {{rope_type: default}}", {"rope_type": "default"}),
        (
            f"{AXOLOTL}overrides_of_model_config:\n  rope_scaling: {{type: linear, factor: 2.0}}",
            {"rope_type": "linear", "factor": 2.0},
        ),
        (
            f"{TRL}rope_scaling: {{type: llama3, factor: 8, original_max_position_embeddings: 64}}",
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "original_max_position_embeddings": 64,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
            },
        ),
    ],
)
def test_scaled_positions_are_carried_over(
    tmp_path: Path, more: str, found: dict[str, Any]
) -> None:
    recipe, told = converted(f"{more}\n", tmp_path)
    assert recipe.rope_scaling == found
    assert not left(told) & {"rope_scaling", "rope_parameters", "overrides_of_model_config"}


def test_other_changes_of_a_models_configuration_are_told(tmp_path: Path) -> None:
    changes = "overrides_of_model_config: {rope_scaling: {type: odd}, attention_bias: true}\n"
    recipe, found = converted(f"{AXOLOTL}{changes}", tmp_path)
    assert recipe.rope_scaling is None
    key = "overrides_of_model_config"
    assert {f"{key}.rope_scaling", f"{key}.attention_bias"} <= left(found)


def test_a_chat_template_that_is_no_file_and_one_that_is_called_default_are_told(
    tmp_path: Path,
) -> None:
    _, found = converted(f"{TRL}chat_template_path: some/model\n", tmp_path)
    assert "chat_template_path" in left(found)
    inline = "chat_template_jinja: '{{ messages }}'\n"
    _, found = converted(f"{AXOLOTL}chat_template: jinja\n{inline}", tmp_path)
    assert "chat_template_jinja" in left(found)
    plain = LLAMA_FACTORY.replace("template: llama3", "template: default")
    _, found = converted(plain, tmp_path)
    assert "template" in left(found)
    recipe, found = converted(plain.replace("template: default", "template: empty"), tmp_path)
    assert isinstance(recipe.model, ModelSpec)
    assert recipe.model.chat_template == "none"
    assert "template" not in left(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{TRL}dataset: 7\n", "theirs.yml, line 14: dataset: 7 is not a list of names."),
        (f"{LLAMA_FACTORY}report_to: true\n", "line 25: report_to: True is not a list of names."),
        (f"{AXOLOTL}val_set_size: much\n", "val_set_size: 'much' is not a number."),
        (f"{AXOLOTL}max_steps: 1.5\n", "max_steps: 1.5 is not a whole number."),
        (f"{AXOLOTL}max_steps: .inf\n", "max_steps: it is not a finite number."),
        (f"{TRL}warmup_ratio: 1.5\n".replace("warmup_steps", "#"), "1.5 is not a whole number of"),
        (f"{TRL}lora_target_parameters: 5\n", "lora_target_parameters: 5 is not a list of names."),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_by_its_key(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(text, tmp_path)


def test_keys_of_data_that_stand_elsewhere_are_told(tmp_path: Path) -> None:
    _, found = converted(f"{AXOLOTL}field_messages: talk\nrun_name: mine\n", tmp_path)
    assert "field_messages" in left(found)
    assert "run_name" in {one.key for one in found.left}


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("use_dft_loss", "true", "cross-entropy"),
        ("unfrozen_parameters", "[lm_head.weight]", "LoRA leaves all others frozen"),
        ("lora_rank_pattern", "8", "method.ranks: 8 is not a mapping"),
        ("peft_init_lora_weights", "loftq", "method.init: 'loftq' is none"),
        ("rope_scaling", "{type: su}", "rope_type: input should be 'yarn'"),
        ("rope_scaling", "{type: linear, beta_fast: 1}", "beta_fast is no setting of linear"),
        ("lr_groups", "[{name: a, modules: [b], lr: 1.0e-5}]", "rates are train.learning_rate"),
        ("galore_rank", "8", "no train.optimizer has such settings"),
        ("relora_prune_ratio", "0.9", "no method here"),
        ("loss_type", "dft", "cross-entropy"),
        ("cosine_constant_lr_ratio", "0.8", "no train.schedule"),
    ],
)
def test_what_makes_another_training_is_told_with_its_reason(
    key: str, value: str, why: str, tmp_path: Path
) -> None:
    _, found = converted(AXOLOTL + f"{key}: {value}\n", tmp_path)
    assert [why in one.why and one.matters for one in found.left if one.key == key] == [True]


def test_what_is_here_as_it_is_or_does_not_matter_is_not_told(tmp_path: Path) -> None:
    _, before = converted(AXOLOTL, tmp_path)
    same = {
        **{"excess_length_strategy": "drop", "dataloader_pin_memory": "true", "loss_type": "nll"},
        **{"use_dft_loss": "false", "dpo_beta": "0.1", "vllm_maxlen": "4096"},
        **{"swanlab_project": "mine", "eval_on_start": "true", "max_new_tokens": "64"},
    }
    text = "".join(f"{key}: {value}\n" for key, value in same.items())
    _, after = converted(AXOLOTL + text, tmp_path)
    assert left(after) == left(before)
    assert not [one.key for one in after.left if "not known" in one.why]
    assert all(key in after.text for key in same)


@pytest.mark.parametrize(
    ("text", "more", "shuffle"),
    [
        (AXOLOTL, "curriculum_sampling: true", False),
        (LLAMA_FACTORY, "disable_shuffling: true", False),
        (TRL, "train_sampling_strategy: sequential", False),
        (TRL, "train_sampling_strategy: group_by_length\nshuffle_dataset: true", True),
        # The sampler draws the order anew all the same.
        (AXOLOTL, "shuffle_merged_datasets: false", True),
    ],
)
def test_the_order_of_rows_is_carried_over(
    text: str, more: str, shuffle: bool, tmp_path: Path
) -> None:
    recipe, found = converted(f"{text}{more}\n", tmp_path)
    assert recipe.train.shuffle is shuffle
    assert not left(found) & {line.split(":")[0] for line in more.splitlines()}


def test_smoothing_is_carried_over(tmp_path: Path) -> None:
    recipe, found = converted(f"{TRL}label_smoothing_factor: 0.1\n", tmp_path)
    assert train(recipe, "label_smoothing") == [0.1]
    assert "label_smoothing_factor" not in left(found)


def test_validations_until_a_stop_are_llama_factorys_too(tmp_path: Path) -> None:
    recipe, _ = converted(LLAMA_FACTORY + "early_stopping_steps: 3\n", tmp_path)
    assert train(recipe, "patience") == [3]


def test_ranks_and_alphas_by_pattern_and_the_initialisation_are_carried_over(
    tmp_path: Path,
) -> None:
    more = "rank_pattern: {q_proj: 8}\nalpha_pattern: {'mlp.*': 4}\npeft_init_lora_weights: pissa\n"
    recipe, found = converted(AXOLOTL + more, tmp_path)
    options = recipe.method.options()
    assert (options["ranks"], options["alphas"]) == ({"q_proj": 8}, {"mlp.*": 4})
    assert options["init"] == "pissa"
    assert not left(found) & {"rank_pattern", "alpha_pattern", "peft_init_lora_weights"}


@pytest.mark.parametrize(
    "more",
    [
        "peft_init_lora_weights: true",
        "peft_use_dora: false",
        "neftune_noise_alpha: 0",
        "label_smoothing_factor: 0.0",
        "save_steps: 0",
        "save_total_limit: 0",
        "train_on_inputs: false",
        "peft_layers_to_transform: []",
    ],
)
def test_what_turns_off_what_is_off_anyway_is_not_written(more: str, tmp_path: Path) -> None:
    key = more.split(":")[0]
    plain = "".join(line for line in AXOLOTL.splitlines(True) if line.split(":")[0] != key)
    before, _ = converted(plain, tmp_path)
    after, found = converted(f"{plain}{more}\n", tmp_path)
    assert (after.train, after.method) == (before.train, before.method)
    assert key not in left(found)


@pytest.mark.parametrize(("switch", "found"), [("true", "muon"), ("false", "adafactor")])
def test_muon_by_a_switch_of_its_own(switch: str, found: str, tmp_path: Path) -> None:
    recipe, _ = converted(f"{LLAMA_FACTORY}\noptim: adafactor\nuse_muon: {switch}\n", tmp_path)
    assert train(recipe, "optimizer") == [found]


@pytest.mark.parametrize(
    ("text", "key"),
    [(LLAMA_FACTORY, "adapter_name_or_path"), (AXOLOTL, "lora_model_dir")],
)
def test_an_adapter_to_train_further_is_the_start(tmp_path: Path, text: str, key: str) -> None:
    more = "loraplus_lr_ratio: 16\n"
    recipe, found = converted(f"{text}{key}: saves/first\n{more}", tmp_path)
    assert recipe.method.model_dump() == {
        "name": "lora", "start": "saves/first", "plus_ratio": 16
    }  # fmt: skip
    assert key not in left(found)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("adapter_name_or_path: a,b", "training starts from one adapter"),
        ("adapter_name_or_path: a\ncreate_new_adapter: true", "merge the adapter first"),
        ("adapter_name_or_path: a\nfinetuning_type: full", "the method is not that of an adapter"),
    ],
)
def test_adapters_that_are_merged_there_are_no_start(tmp_path: Path, more: str, why: str) -> None:
    kept = LLAMA_FACTORY.replace(
        "finetuning_type: lora\n", "" if "full" in more else "finetuning_type: lora\n"
    )
    recipe, found = converted(f"{kept}{more}\n", tmp_path)
    assert recipe.method.start is None
    (told,) = (one for one in found.left if one.key == "adapter_name_or_path")
    assert told.matters
    assert why in told.why


@pytest.mark.parametrize(
    ("theirs", "model", "method"),
    [
        (
            AXOLOTL.replace("qlora", "lora")
            + """
tokens: ["<tool>", "</tool>"]
special_tokens:
  pad_token: <pad>
  eos_token: <|im_end|>
  additional_special_tokens: [<|im_start|>, <|im_end|>]
lora_modules_to_save: [embed_tokens, lm_head]
peft_trainable_token_indices: {embed_tokens: [5, 6], lm_head: [6, 7]}
""",
            (["<tool>", "</tool>"], ["<|im_end|>", "<|im_start|>"]),
            ([5, 6, 7], ["embed_tokens", "lm_head"]),
        ),
        (
            LLAMA_FACTORY
            + """
add_tokens: <think>,</think>
add_special_tokens: <|a|>
resize_vocab: true
additional_target: embed_tokens,lm_head
""",
            (["<think>", "</think>"], ["<|a|>"]),
            ([], ["embed_tokens", "lm_head"]),
        ),
        (AXOLOTL + "special_tokens: {pad_token: <pad>}\ntokens: []\n", ([], []), ([], [])),
    ],
    ids=["axolotl", "LLaMA-Factory", "only to pad"],
)
def test_new_tokens_and_modules_trained_whole_are_carried_over(
    tmp_path: Path, theirs: str, model: Any, method: Any
) -> None:
    file = tmp_path / "theirs.yaml"
    file.write_text(theirs)
    done = written(file)
    (tmp_path / "ours.yaml").write_text(done.text)
    recipe = load_recipe(tmp_path / "ours.yaml")
    assert (recipe.base.add_tokens, recipe.base.add_special_tokens) == model
    assert (recipe.method.train_tokens, recipe.method.train_whole) == method
    told = {one.key for one in done.left if one.matters}
    assert not told & {"tokens", "special_tokens", "resize_vocab", "additional_target"}

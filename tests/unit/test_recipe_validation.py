"""A value that does not fit is named by its own key, whatever the key looks like."""

from pathlib import Path
from typing import Any

import pytest

from brulee.data.corpus import open_corpus
from brulee.data.sources import open_source
from brulee.errors import InputError
from brulee.methods import build_method
from brulee.methods.continuing import resolved
from brulee.models.configuration import model_name
from brulee.recipe import Source, load_recipe, recipe_from_dict

ANY = {"data": {"source": "rows.jsonl"}}


def refusal(values: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        _read({**ANY, **values}, overrides)
    return str(caught.value)


def _read(values: dict[str, Any], overrides: tuple[str, ...]) -> None:
    recipe = recipe_from_dict(values, overrides)
    build_method(recipe.method, recipe.source)


@pytest.mark.parametrize("key", ["validate_every", "save_every", "generate_every"])
def test_steps_and_shares_of_an_epoch_are_told_apart(key: str) -> None:
    for given in (1, 200, 0.25):
        recipe = recipe_from_dict(ANY, [f"train.{key}={given}"])
        assert getattr(recipe.train, key) == given
        assert type(getattr(recipe.train, key)) is type(given)
    wanted = "it should be a number of steps, such as 100, or a share of an epoch below 1"
    for refused in ("1.0", "1.5", "0", "-1", "0.0", "true", "often"):
        said = refusal({}, f"train.{key}={refused}")
        assert f"train.{key} = " in said
        assert wanted in said
        assert said.endswith("one step is 1, not 1.0.") == (refused == "1.0")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": {"name": "lora", "Rank": 8}}, "'method.Rank'; did you mean 'rank'?"),
        ({"Model": "bundled"}, "'Model'; did you mean 'model'?"),
        ({"Train": {}}, "'Train'; did you mean 'train'?"),
        ({"train": {"Epochs": 3}}, "'train.Epochs'; did you mean 'epochs'?"),
        ({"data": [{"Source": "a"}]}, "'data.tasks.0.Source'; did you mean 'source'?"),
        ({"data": {"DataSpec": {}}}, "'data.DataSpec'; "),
    ],
)
def test_an_unknown_key_in_capitals_is_the_one_that_is_named(
    values: dict[str, Any], said: str
) -> None:
    assert f"unknown key {said}" in refusal(values)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            'method={name: lora, "q[0]": 4}',
            "--set method: unknown key 'method.q[0]'; none is close. Valid here: ",
        ),
        (
            "method={name: lora, str: 4}",
            "--set method: unknown key 'method.str'; did you mean 'start'? Valid here: ",
        ),
        (
            "train.LR=3",
            "--set train.LR: unknown key 'train.LR'; none is close. Valid here: accumulation, ",
        ),
    ],
)
def test_an_unknown_key_that_looks_like_a_type_is_the_one_that_is_named(
    override: str, said: str
) -> None:
    assert refusal({}, override).startswith(said)


def test_a_key_that_belongs_into_a_section_is_told_where() -> None:
    said = refusal({"learning_rate": 1e-4})
    assert "unknown key 'learning_rate'; did you mean 'train.learning_rate'? Valid here: " in said


def test_a_section_that_only_an_override_names_is_blamed_on_the_override() -> None:
    said = refusal({}, "trian.max_steps=2")
    assert said.startswith("--set trian.max_steps: unknown key 'trian'; did you mean 'train'?")


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("qlora", "lora with model: {quantise: nf4}"),
        ("DoRA", "lora with dora: true"),
        ("bitfit", "selective with train: bias"),
    ],
)
def test_the_name_that_another_tool_gives_a_method_is_translated(name: str, here: str) -> None:
    said = refusal({"method": {"name": name}})
    assert f"unknown method '{name}'; here it is {here}. Valid: bottleneck, full, " in said


def test_a_text_in_place_of_a_list_is_told_how_a_list_is_written() -> None:
    said = refusal({}, "evaluate.metrics=rouge")
    assert said.endswith("'rouge' is not valid: it should be a list, such as [rouge].")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "rows.csv",
            "a,b\n1,2\n",
            "these are rows, not a recipe; .* data: {source: .*rows.csv}",
        ),
        ("r.yaml", "", "the file is empty; a recipe is a mapping"),
        ("r.yaml", "[1]", "it has no keys; a recipe is a mapping"),
    ],
)
def test_a_file_that_is_no_recipe_is_told_apart(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        load_recipe(tmp_path / name)


@pytest.mark.parametrize("pattern", ["Block", "q[0]", "str"])
def test_a_pattern_that_looks_like_a_type_is_named(pattern: str) -> None:
    said = refusal({"method": {"name": "lora", "ranks": {pattern: 0}}})
    assert f"method.ranks.{pattern} = 0 is not valid: it should be greater" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": "lora"}, "method = 'lora' is not valid: it should be a mapping, such as "
         "{name: lora}."),
        ({"method": None}, "method = None is not valid: it should be a mapping, such as "
         "{name: lora}."),
        ({"data": "a.jsonl"}, "it should be a mapping, such as {source: a.jsonl}."),
        ({"evaluate": {"generation": 4}},
         "evaluate.generation = 4 is not valid: it should be a mapping with keys of these: "
         "beams, json_schema, length_penalty, max_new_tokens, min_p, repetition_penalty, "
                "temperature, top_k, top_p."),
    ],
)  # fmt: skip
def test_a_value_in_place_of_a_section_is_told_what_a_section_is(
    values: dict[str, Any], said: str
) -> None:
    assert said in refusal(values)


@pytest.mark.parametrize("number", [".inf", ".nan"])
@pytest.mark.parametrize(
    ("key", "method"),
    [
        ("method.alpha", "lora"),
        ("method.plus_ratio", "lora"),
        ("method.alphas", "lora"),
        ("method.scaling", "bottleneck"),
        ("train.epochs", "lora"),
        ("train.learning_rate", "lora"),
    ],
)
def test_a_number_that_is_not_finite_is_refused(key: str, method: str, number: str) -> None:
    value = f"{{q_proj: {number}}}" if key == "method.alphas" else number
    said = refusal({"method": {"name": method}}, f"{key}={value}")
    assert said.startswith(f"--set {key}: {key}")
    assert said.endswith("it should be a finite number.")


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ({"name": "lora", "target": []}, "target"),
        ({"name": "selective", "train": "sparse", "parameters": []}, "parameters"),
        ({"name": "selective", "train": "parameters", "parameters": []}, "parameters"),
    ],
)
def test_a_list_that_chooses_nothing_is_refused(method: dict[str, Any], key: str) -> None:
    said = refusal({"method": method})
    assert f"method.{key} = [] is not valid: the list should have at least 1 item, not 0." in said


def test_a_seed_that_no_generator_takes_is_refused() -> None:
    recipe = recipe_from_dict(ANY, [f"train.seed={2**63 - 1}"])
    assert recipe.train.seed == 2**63 - 1
    assert "train.seed = 9223372036854775808 is not valid" in refusal({}, f"train.seed={2**63}")


def test_a_long_value_is_not_shown_whole() -> None:
    said = refusal({"method": {"name": "lora", "alpha": "x" * 10_000}})
    assert "xxx... is not valid" in said
    assert len(said) < 400


def test_a_runs_own_recipe_finds_what_lay_beside_the_one_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, run = tmp_path / "project", tmp_path / "runs/chat"
    for folder in (project, run, tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    (project / "rows.jsonl").write_text("{}\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    recipe = "data: {source: rows.jsonl, templates: dialogue-summary}\n"
    (run / "recipe.yaml").write_text(recipe)
    (run / "other.yaml").write_text(recipe)
    found = load_recipe(run / "recipe.yaml").source.resolve("rows.jsonl")
    assert not found.exists()
    for manifest in (f'{{"recipe_folder": "{project}"}}', '{"recipe_folder": 3}', "[]", "{"):
        (run / "manifest.json").write_text(manifest)
        source = load_recipe(run / "recipe.yaml").source
        assert source.resolve("rows.jsonl").exists() == (str(project) in manifest)
        assert not load_recipe(run / "other.yaml").source.resolve("rows.jsonl").exists()


def test_the_nearest_of_a_mistyped_path_is_looked_for_beside_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project/models/tuned").mkdir(parents=True)
    (tmp_path / "project/models/rows.jsonl").write_text("{}\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file = tmp_path / "project/recipe.yaml"
    file.write_text("model: models/tunde\ndata: {source: models/rosw.jsonl}\n")
    recipe = load_recipe(file)
    said = r"'models/tunde': no such folder or file\. Did you mean 'models/tuned'\?"
    with pytest.raises(InputError, match=said):
        model_name(recipe)
    with pytest.raises(InputError, match=r"Did you mean .*project/models/rows\.jsonl\?"):
        open_source("models/rosw.jsonl", recipe.source.resolve)
    assert model_name(load_recipe(file, ["model=owner/name"])) == "owner/name"


def test_what_stands_in_a_section_given_with_set_is_not_sought_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("data:\n  source: rows.jsonl\n  split:\n    test: 0.2\n")
    with pytest.raises(InputError) as caught:
        load_recipe(file, ["data.split={test: x}"])
    assert str(caught.value).startswith("--set data.split: data.split.test = 'x' is not valid")


def test_what_begins_with_a_key_is_given_its_place() -> None:
    source = Source("mine.yaml", {("method",): 3, ("method", "width"): 5}, None)
    for said, placed in (
        ("method.width and method.reduction: one.", "mine.yaml, line 5: method.width and"),
        ("method.rank: 9 is too many.", "mine.yaml, line 3: method.rank: 9"),
        ("method ia3: nothing is left.", "mine.yaml, line 3: method ia3: nothing"),
        ("train.optimizer: not here.", "mine.yaml: train.optimizer: not"),
        ("rows.jsonl, line 2: method.rank", "rows.jsonl, line 2: method.rank"),
    ):
        with pytest.raises(InputError) as told, source.placing():
            raise InputError(said)
        assert str(told.value).startswith(placed)


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("name: bottleneck\n  width: 4\n  reduction: 2", 4),
        ("name: bottleneck\n  cross_attention: true", 4),
        ("name: prefix\n  hidden: 3", 4),
        ("name: prompt\n  init: random\n  init_text: a", 5),
        ("name: selective\n  train: layers", 4),
    ],
)
def test_options_that_exclude_each_other_are_refused_with_their_line(
    tmp_path: Path, method: str, line: int
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"data: {{source: rows.jsonl}}\nmethod:\n  {method}\n")
    recipe = load_recipe(file)
    with pytest.raises(InputError) as told:
        resolved(recipe)
    assert str(told.value).startswith(f"{file}, line {line}: method.")


def test_a_split_that_leaves_nothing_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 3)
    file = tmp_path / "mine.yaml"
    split = "split: {test: 0.6, validation: 0.5}"
    file.write_text(f"data:\n  source: {tmp_path / 'rows.jsonl'}\n  {split}\n")
    with pytest.raises(InputError) as told:
        open_corpus(load_recipe(file))
    assert str(told.value).startswith(f"{file}, line 3: split: test 0.6")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("su", "model.rope_scaling.rope_type = 'su' is not valid: it should be 'yarn', 'linear'"),
        ({"type": "odd"}, "model.rope_scaling.rope_type = 'odd' is not valid: it should be 'yarn'"),
        ({"rope_type": "yarn", "factor": 0.5}, "model.rope_scaling.factor = 0.5 is not valid: "),
        ({"factor": 2}, "the key 'model.rope_scaling.rope_type' is required"),
        (
            {"rope_type": "yarn", "factr": 2},
            "unknown key 'model.rope_scaling.factr'; did you mean 'factor'?",
        ),
        (
            {"type": "yarn", "rope_type": "linear"},
            "type is 'yarn' and rope_type 'linear'; keep one of them",
        ),
        (
            {"rope_type": "linear", "factor": 2, "beta_fast": 3},
            "beta_fast is no setting of linear, which has factor, rope_theta",
        ),
        ({"rope_type": "default", "factor": 2}, "factor is no setting of default"),
        ({"rope_type": "longrope", "factor": 2}, "longrope needs short_factor"),
        (
            {"rope_type": "llama3", "low_freq_factor": 4},
            "low_freq_factor must be less than high_freq_factor",
        ),
        (4, "model.rope_scaling = 4 is not valid: "),
    ],
)
def test_a_scaling_of_positions_that_is_none_is_one_sentence(given: Any, said: str) -> None:
    assert said in refusal({"model": {"name": "bundled", "rope_scaling": given}})


def test_a_scaling_of_positions_is_written_as_it_is_meant() -> None:
    both = {"type": "yarn", "rope_type": "yarn", "factor": 4}
    recipe = recipe_from_dict({**ANY, "model": {"rope_scaling": both}})
    assert recipe.to_dict()["model"]["rope_scaling"] == {"rope_type": "yarn", "factor": 4.0}
    assert recipe_from_dict(recipe.to_dict()).to_dict() == recipe.to_dict()
    short = recipe_from_dict({**ANY, "model": {"rope_scaling": "linear"}})
    assert short.rope_scaling == {"rope_type": "linear", "max_length": 1024}
    assert recipe_from_dict(ANY).rope_scaling is None


@pytest.mark.parametrize(
    ("file", "name"),
    [("my chats (2).yaml", "my-chats-2"), ("実験.yaml", "run"), ("a.b.yaml", "a.b")],
)
def test_a_run_is_called_as_its_recipes_file_whatever_that_is_called(
    tmp_path: Path, file: str, name: str
) -> None:
    path = tmp_path / file
    path.write_text("data: {source: a.jsonl}\n")
    assert load_recipe(path).name == name
    with pytest.raises(InputError, match="name 'my chats' is not a folder name"):
        load_recipe(path, ["name=my chats"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.\u00b2=1", "unknown key 'data.\u00b2'"),
        ("data.\u0663=1", "data.3 = 3 is not valid: keys should be strings"),
        ("method.name=lora", "method is a list of 1; 'name' is not one of 0"),
        ("method.0.name=lora", "method.0 is not a section that has keys"),
        ("train.trackers.0=wandb", "train.trackers is a list of 0; 0 is not in it"),
        (f"train.trackers.{'7' * 4301}=wandb", "train.trackers is a list of 0; '7777"),
        (f"data.{'7' * 4301}=1", "unknown key 'data.7777"),
    ],
)
def test_an_override_of_what_has_no_such_part_is_one_sentence(override: str, said: str) -> None:
    values = {"method": [1]} if "method" in override else {"train": {"trackers": []}}
    assert said in refusal(values, override)


def test_the_text_of_a_recipe_in_place_of_its_file_is_told_apart() -> None:
    text = f"data:\n  source: rows.jsonl\n  system: {'Be brief. ' * 50}\n"
    with pytest.raises(InputError, match="a recipe's file is a path, not the text in it"):
        load_recipe(text)


def test_a_run_called_by_a_number_has_a_recipe_that_reads_back(tmp_path: Path) -> None:
    data = {"source": "rows.jsonl", "system": "1e3", "columns": {"text": "08"}}
    recipe = recipe_from_dict({"data": data, "name": "2e-4"})
    file = tmp_path / "written.yaml"
    file.write_text(recipe.to_yaml(), encoding="utf-8")
    again = load_recipe(file)
    assert (again.name, again.to_dict()) == ("2e-4", recipe.to_dict())

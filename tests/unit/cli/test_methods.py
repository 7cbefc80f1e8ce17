from pathlib import Path

import pytest


def test_textbook_case_is_written_out(brulee) -> None:
    done = brulee("methods", "count", "--shape", "512x64", "--set", "rank=8")
    assert done.code == 0
    assert "8×64 + 512×8 = 4,608 instead of 512×64 = 32,768: 86% fewer" in done.out


def test_pissa_trains_half_of_what_it_stores(brulee) -> None:
    done = brulee("methods", "count", "--shape", "512x64", "--set", "init=pissa")
    assert "PiSSA r8: 8×64 + 512×8 = 4,608 instead of 512×64 = 32,768: 86% fewer" in done.out


def test_a_rank_too_high_to_pay_is_said_to_be_more(brulee) -> None:
    done = brulee("methods", "count", "--shape", "16x16", "--set", "rank=16", "--method", "lora")
    assert "= 512 instead of 16×16 = 256: 100% more" in done.out


def test_every_method_is_counted_on_a_folder(brulee, tiny_model_folder: Path) -> None:
    from brulee.methods import METHODS

    done = brulee("methods", "count", tiny_model_folder, "--json")
    assert done.code == 0
    assert [m["method"] for m in done.json["methods"]] == list(METHODS)
    assert all(m["trainable"] > 0 and m["stored_bytes"] > 0 for m in done.json["methods"])
    table = brulee("methods", "count", tiny_model_folder, "--method", "lora").out
    assert "LoRA r8" in table
    assert "100.000%" not in table


def test_options_are_taken_as_in_a_recipe(brulee, tiny_model_folder: Path) -> None:
    counted = [
        brulee(
            *("methods", "count", tiny_model_folder, "--method", "lora", "--json"),
            *("--set", f"{prefix}target=[q_proj]", "--set", f"{prefix}rank=2"),
        ).json["methods"]
        for prefix in ("", "method.")
    ]
    assert counted[0] == counted[1]
    assert counted[0][0]["trainable"] == 2 * 2 * (32 + 32)


def test_a_recipe_stands_for_its_base_and_for_its_methods_options(
    brulee, tiny_model_folder: Path, tmp_path: Path
) -> None:
    text = f"model: {tiny_model_folder}\ndata: {{source: rows.jsonl}}\nmethod: {{rank: 2}}\n"
    for recipe in (tmp_path / "my.yaml", tmp_path / "recipe.yaml"):
        recipe.write_text(text)
    counted = brulee("methods", "count", tmp_path / "my.yaml", "--json").json
    assert counted["model"] == str(tiny_model_folder)
    of_model = brulee("methods", "count", tiny_model_folder, "--json").json["methods"]
    differ = [a["label"] for a, b in zip(counted["methods"], of_model, strict=True) if a != b]
    assert differ == ["LoRA r2"]
    assert brulee("methods", "count", tmp_path, "--json").json == counted  # of a run's folder
    changed = brulee("methods", "count", tmp_path, "--set", "rank=4", "--method", "lora").out
    assert "LoRA r4" in changed


def test_what_cannot_be_put_on_is_listed_with_its_reason(brulee, tiny_model_folder: Path) -> None:
    done = brulee("methods", "count", tiny_model_folder, "--set", "target=nothing")
    assert done.code == 0
    assert "LoRA r8: method.target: no linear module" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give either a MODEL or --shape"),
        (("bundled", "--shape", "2x2"), "give either a MODEL or --shape"),
        (("--shape", "512"), "write it as OUTPUTSxINPUTS"),
        (("--shape", "0x3"), "write it as OUTPUTSxINPUTS"),
        (("--shape", "2x2", "--set", "rank"), "write it as option=value"),
        (("--shape", "2x2", "--set", "rnk=2"), "did you mean 'rank'"),
        (("--shape", "2x2", "--set", "rank=0"), "--set rank: method.rank = 0 is not valid"),
        (("--shape", "2x2", "--method", "prompt"), "trains a whole model, not a single weight"),
        (("--shape", "2x2", "--method", "lorra"), "did you mean 'lora'"),
        (("no/such/model",), "no such folder or file"),
        (("no/such.yaml",), "no/such.yaml: no such recipe file"),
        (("FOLDER/tyny",), "/tiny'? Valid: bundled"),
    ],
)
def test_mistakes_end_in_a_sentence(
    brulee, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "tiny").mkdir()
    given = (argument.replace("FOLDER", str(tmp_path)) for argument in arguments)
    done = brulee("methods", "count", *given)
    assert (done.code, done.out) == (2, "")
    assert said in done.err

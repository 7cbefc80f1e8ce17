import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from brulee.methods import build_method
from brulee.methods.adapter_files import CONFIG, OURS, WEIGHTS
from brulee.methods.storing import save_adapter
from brulee.models.loading import load_base
from brulee.recipe import MethodSpec


@pytest.fixture
def runs(tiny_model_folder: Path, tmp_path: Path) -> Path:
    base = load_base(str(tiny_model_folder), torch.float32, torch.device("cpu"))
    ways = {"one": ("lora", 0), "two": ("lora", 1), "soft": ("prompt", 0)}
    for run, (name, seed) in ways.items():
        attached = build_method(MethodSpec(name=name)).attach(base.model, seed)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for group in attached.groups():
                for parameter in group.parameters:
                    parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
        folder = tmp_path / run
        save_adapter(folder / "adapter", attached, base, str(tiny_model_folder), "", {})
        (folder / "recipe.yaml").write_text(f"name: {run}\n")
        attached.detach()
    return tmp_path


def test_a_list_names_method_base_size_and_problem(brulee, runs: Path) -> None:
    (runs / "two" / "adapter" / CONFIG).write_text("{")
    done = brulee("adapters", "list", runs, "--json")
    assert done.code == 0
    by_name = {each["name"]: each for each in done.json}
    assert by_name["one"]["method"] == "LoRA r8"
    assert by_name["one"]["bytes"] == (runs / "one" / "adapter" / WEIGHTS).stat().st_size
    assert by_name["one"]["problem"] is None
    assert by_name["soft"]["method"] == "prompt 20"
    assert "not valid JSON" in by_name["two"]["problem"]
    table = brulee("adapters", "list", runs).out
    assert "LoRA r8" in table
    assert f"two: {runs / 'two' / 'adapter' / CONFIG}: not valid JSON" in table


def test_a_list_of_one_adapter_calls_it_by_its_run(brulee, runs: Path, monkeypatch) -> None:
    for folder in (runs / "one" / "adapter", runs / "one"):
        (listed,) = brulee("adapters", "list", folder, "--json").json
        assert listed["name"] == "one"
    monkeypatch.chdir(runs / "one")
    (listed,) = brulee("adapters", "list", "adapter", "--json").json
    assert listed["name"] == "one"


def test_a_list_shows_what_a_finished_run_gained(brulee, runs: Path) -> None:
    from brulee.reporting import results

    paired = {
        "task": "chats", "metric": "rouge1", "base": 0.2, "tuned": 0.4, "difference": 0.2,
        "low": 0.1, "high": 0.3, "p": 0.01, "wins": 9, "losses": 1, "ties": 0,
    }  # fmt: skip
    found = results.Results(
        run="one",
        base=results.Base(name="tiny", digest="0"),
        method=results.Method(name="lora"),
        comparisons=(results.Comparison(**paired),),
    )
    results.write(found, runs / "one")
    assert "ROUGE-1 0.200 -> 0.400" in brulee("adapters", "list", runs).out
    (runs / "one" / results.FILE_NAME).write_text("{")
    by_name = {each["name"]: each for each in brulee("adapters", "list", runs, "--json").json}
    assert "not valid JSON" in by_name["one"]["problem"]


def test_an_empty_folder_lists_nothing(brulee, tmp_path: Path) -> None:
    assert brulee("adapters", "list", tmp_path).out.endswith("nothing tuned is stored here.\n")
    assert brulee("adapters", "list", tmp_path, "--json").json == []


def test_inspecting_shows_tensors_and_where_they_belong(brulee, runs: Path) -> None:
    found = brulee("adapters", "inspect", runs / "one", "--json").json
    assert (found["label"], found["peft"], found["sealed"]) == ("LoRA r8", "LORA", True)
    assert found["method"]["rank"] == 8
    assert {t["name"] for t in found["tensors"]} == set(load_file(runs / "one/adapter" / WEIGHTS))
    shown = brulee("adapters", "inspect", runs / "one").out
    assert "loads it, as LORA" in shown
    assert "every bit is as saved" in shown
    assert "more; --all shows them" in shown
    assert "more; --all" not in brulee("adapters", "inspect", runs / "one", "--all").out


def test_a_merged_run_is_said_where_and_how_exact(brulee, runs: Path) -> None:
    out = runs / "merged"
    done = brulee("adapters", "merge", runs / "one", "--out", out, "--dtype", "bfloat16", "--json")
    assert done.code == 0, done.err
    assert done.json["folder"] == str(out)
    assert done.json["dtype"] == "bfloat16"
    assert (out / "model.safetensors").is_file()
    listed = {each["name"]: each for each in brulee("adapters", "list", runs, "--json").json}
    assert listed["merged"]["method"] == "LoRA r8, merged"
    assert "LoRA r8, merged" in brulee("adapters", "inspect", out).out
    again = brulee("adapters", "merge", runs / "one", "--out", out)
    assert (again.code, again.out) == (2, "")
    assert "exists already" in again.err
    assert "likeliest tokens are the same" in brulee(
        "adapters", "merge", runs / "two", "--out", runs / "more"
    ).out  # fmt: skip


def test_what_four_bits_took_is_told_beside_what_merging_stores(
    brulee, make_base, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    base = make_base("llama", hidden_size=64, intermediate_size=128)
    base.model.save_pretrained(tmp_path / "m")
    base.tokenizer.save_pretrained(tmp_path / "m")
    base = load_base(str(tmp_path / "m"), torch.float32, torch.device("cpu"), quantise="nf4")
    attached = build_method(MethodSpec(name="lora")).attach(base.model)
    save_adapter(tmp_path / "a", attached, base, str(tmp_path / "m"), "", {})
    done = brulee("adapters", "merge", tmp_path / "a", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    told = re.search(
        r"held in NF4, (\d+) kB, and its files have (\d+) kB; the merged.*(\d+) kB", done.out
    )
    assert told is not None, done.out
    assert int(told[1]) < int(told[2])


def test_a_difference_names_parts_and_totals(brulee, runs: Path) -> None:
    found = brulee("adapters", "diff", runs / "one", runs / "two", "--json").json
    assert found["same_base"] is True
    assert found["relative"] > 0.1
    assert all(part["kind"] == "product" and not part["same"] for part in found["parts"])
    text = brulee("adapters", "diff", runs / "one", runs / "two").out
    assert "14 of 14 parts differ" in text
    assert "model.layers.0" in text
    same = brulee("adapters", "diff", runs / "one", runs / "one").out
    assert "identical: all 14 parts, bit for bit." in same


def test_another_base_is_pointed_at_in_a_difference(brulee, runs: Path) -> None:
    ours = runs / "two" / "adapter" / OURS
    record = json.loads(ours.read_text())
    record["base"]["digest"] = "other"
    ours.write_text(json.dumps(record))
    assert "They have different bases" in brulee(
        "adapters", "diff", runs / "one", runs / "two"
    ).out  # fmt: skip
    ours.unlink()
    assert "is not recorded" in brulee("adapters", "diff", runs / "one", runs / "two").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "nowhere"), "no such folder"),
        (("inspect", "nowhere"), "no such folder"),
        (("inspect", "RUNS/onn"), "Did you mean"),
        (("list", "RUNS/one/recipe.yaml"), "recipe.yaml: a file; give the folder of a run"),
        (("export", "RUNS/one", "--out", "RUNS/one/recipe.yaml/x.gguf"), "recipe.yaml: a file, "),
        (("merge", "RUNS/soft", "--out", "RUNS/out"), "prompt cannot merge"),
        (("merge", "RUNS/one", "--out", "RUNS/two"), "exists already and is not an empty folder"),
        (("merge", "RUNS/one", "--out", "RUNS/out", "--base", "nowhere"), "nowhere"),
        (("diff", "RUNS/one", "RUNS/soft"), "no tensor in common"),
        (("diff", "RUNS/one", "RUNS"), "neither a run nor an adapter"),
    ],
    ids=str,
)
def test_mistakes_end_in_a_sentence(
    brulee, runs: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = brulee("adapters", *(a.replace("RUNS", str(runs)) for a in arguments))
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.splitlines()[-1].startswith("error: ")
    assert not (runs / "out").exists()


def test_damage_is_named_by_every_command(brulee, runs: Path) -> None:
    weights = runs / "one" / "adapter" / WEIGHTS
    tensors = load_file(weights)
    tensors[min(tensors)] *= 2
    save_file(tensors, weights)
    for arguments in (
        ("inspect", runs / "one"),
        ("diff", runs / "one", runs / "two"),
        ("merge", runs / "one", "--out", runs / "out"),
    ):
        done = brulee("adapters", *arguments)
        assert done.code == 2
        assert "digest differs" in done.err


def test_exporting_writes_one_file_and_says_what_is_in_it(brulee, runs: Path) -> None:
    done = brulee("adapters", "export", runs / "one", "--out", runs / "one.gguf")
    assert done.code == 0, done.err
    assert done.out.startswith(f"{runs / 'one.gguf'}: LoRA r8, merged  (")
    given = ("--to", "gguf-lora", "--dtype", "float32", "--json")
    alone = brulee("adapters", "export", runs / "one", "--out", runs / "lora.gguf", *given)
    assert (alone.code, alone.json["holds"], alone.json["dtype"]) == (0, "LoRA r8", "float32")
    assert alone.json["size"] == (runs / "lora.gguf").stat().st_size
    given = ("--to", "gguf-lora", "--dtype", "q8_0")
    small = brulee("adapters", "export", runs / "one", "--out", runs / "small.gguf", *given)
    assert "16 of its matrices are in float16: their rows are no multiple of 32" in small.out
    soft = brulee("adapters", "export", runs / "soft", "--out", runs / "soft.gguf")
    assert soft.code == 2
    assert "prompt cannot merge" in soft.err


def test_pushing_sends_nothing_until_it_is_told_to(brulee, runs: Path, monkeypatch) -> None:
    monkeypatch.setattr("brulee.methods.pushing.push", lambda *_, **__: pytest.fail("sent"))
    to = ("--to", "someone/chats", "--base-id", "acme/tiny")
    done = brulee("adapters", "push", runs / "one", *to)
    assert done.code == 0, done.err
    assert f"{WEIGHTS}" in done.out
    said = "would be sent to https://huggingface.co/someone/chats; nothing was. Add --upload"
    assert said in done.out
    told = brulee("adapters", "push", runs / "one", *to, "--json").json
    assert (told["uploaded"], WEIGHTS in told["files"]) == (False, True)
    for wrong in ((), ("--base-id", "tiny"), ("--to", "chats", "--base-id", "acme/tiny")):
        refused = brulee("adapters", "push", runs / "one", "--to", "someone/chats", *wrong)
        assert (refused.code, refused.out) == (2, "")

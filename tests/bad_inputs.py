"""Every bad input that a person has to be able to act on: how to make it, what must be said.

The tests run these cases in one process, `benchmarks/bad_input.py` on the installed command.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Arguments = list[str]


def good_row(i: int) -> dict[str, Any]:
    """A short conversation with its summary; every one differs from every other."""
    item = ("a kettle", "two lamps", "the blue chair", "a router", "some socks")[i % 5]
    state = ("late", "broken", "lost", "the wrong size")[i % 4]
    return {
        "dialogue": f"Ana: {item}, order {i}, is {state}.\nShop: sorry, we send it again.",
        "summary": f"Ana said {item} was {state}; order {i} is sent again.",
    }


ROWS = [good_row(i) for i in range(24)]


@dataclass
class Place:
    """A working directory with a model, rows and a recipe; paths are relative to it."""

    folder: Path
    model: Path
    recipe: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.recipe = {
            "model": str(self.model),
            "data": {
                "source": "rows.jsonl",
                "templates": {"prompt": "Sum up: {{ dialogue }}", "completion": "{{ summary }}"},
                "split": {"test": 0.25, "validation": 0.1},
            },
            "method": {"name": "lora", "rank": 2},
            "train": {"epochs": 1, "batch_size": 4, "max_length": 256, "precision": "float32"},
            "evaluate": {"generation": {"max_new_tokens": 4}, "resamples": 100},
        }
        self.rows(ROWS)

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows.jsonl."""
        self.text("".join(json.dumps(row) + "\n" for row in rows))

    def text(self, text: str) -> None:
        """Write rows.jsonl as it is given."""
        (self.folder / "rows.jsonl").write_text(text, encoding="utf-8")

    def write(self, name: str = "recipe.yaml", **changes: Any) -> str:
        """Write the recipe with dotted keys changed (`data__source=...`); returns its file."""
        recipe = json.loads(json.dumps(self.recipe))
        for key, value in changes.items():
            *parents, last = key.split("__")
            section = recipe
            for parent in parents:
                section = section[parent]
            section[last] = value
        lines = [f"{key}: {json.dumps(value)}" for key, value in recipe.items()]
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return name

    def run(self, **changes: Any) -> Arguments:
        """The arguments that run the recipe with those changes."""
        return ["run", self.write(**changes)]

    def copy_of_model(self, name: str = "copy") -> Path:
        """A copy of the model to be damaged."""
        return Path(shutil.copytree(self.model, self.folder / name))


@dataclass(frozen=True)
class Case:
    """`arrange` makes the bad input and returns the arguments that meet it; `says` must be printed.

    `first` are commands that have to succeed before.
    """

    title: str
    arrange: Callable[[Place], Arguments]
    says: str
    first: Callable[[Place], list[Arguments]] = lambda _: []


def _with_row(at: Place, number: int, row: Mapping[str, Any]) -> Arguments:
    at.rows([*ROWS[: number - 1], row, *ROWS[number:]])
    return at.run()


def _malformed(at: Place) -> Arguments:
    lines = [json.dumps(row) for row in ROWS]
    lines[2] = lines[2][:40]
    at.text("\n".join(lines))
    return at.run()


def _empty_rows(at: Place, text: str) -> Arguments:
    at.text(text)
    return at.run()


def empty_completions(at: Place, count: int) -> Arguments:
    at.rows([{**row, "summary": " "} for row in ROWS[:count]] + ROWS[count:])
    return at.run()


def _long_rows(at: Place) -> Arguments:
    at.rows([{**row, "summary": row["summary"] * 40} for row in ROWS])
    return at.run()


def _not_a_model(at: Place) -> Arguments:
    (at.folder / "photos").mkdir()
    (at.folder / "photos" / "cat.jpg").write_bytes(b"...")
    return at.run(model="photos")


def _damaged(at: Place, file: str, damage: Callable[[bytes], bytes]) -> Arguments:
    path = at.copy_of_model() / file
    path.write_bytes(damage(path.read_bytes()))
    return at.run(model="copy")


def _pickle(at: Place) -> Arguments:
    copy = at.copy_of_model()
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    return at.run(model="copy")


def _gguf(at: Place, damage: Callable[[bytes], bytes]) -> Arguments:
    whole = make_gguf(at.folder / "whole.gguf").read_bytes()
    (at.folder / "tiny.gguf").write_bytes(damage(whole))
    return at.run(model="tiny.gguf")


def _widened(config: bytes) -> bytes:
    return json.dumps({**json.loads(config), "hidden_size": 64}).encode()


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :]


def _other_files(at: Place) -> Arguments:
    (at.folder / "letters").mkdir()
    (at.folder / "letters" / "to-ana.txt").write_text("Dear Ana")
    return [*at.run(), "--folder", "letters"]


def _file_as_folder(at: Place) -> Arguments:
    (at.folder / "runs").write_text("not a folder")
    return at.run()


def _short_training(at: Place) -> list[Arguments]:
    return [["train", at.write("first.yaml", train__max_steps=1), "--folder", "runs/one"]]


def _mistyped_key(at: Place) -> Arguments:
    return at.run(train={"learning_rat": 1e-3})


CASES = [
    Case("missing file", lambda at: at.run(data__source="row.jsonl"),
         "error: recipe.yaml, line 2: row.jsonl: no such file or folder. Did you mean rows.jsonl?"),
    Case("empty file", lambda at: _empty_rows(at, ""), "rows.jsonl: the file is empty"),
    Case("file of blank lines", lambda at: _empty_rows(at, "\n\n"),
         "rows.jsonl: the file is empty"),
    Case("malformed JSONL", _malformed, "rows.jsonl, line 3: not valid JSON"),
    Case("a row without the column the template needs",
         lambda at: _with_row(at, 7, {"summary": "?", "topic": "x"}),
         "rows.jsonl, line 7: the column 'dialogue' that template 'inline' needs is missing, "
         "as in 1 of 24 rows; columns with a value in this row: summary, topic. "
         "{% if dialogue is not none %} ... {% endif %} around the prompt leaves such rows out."),
    Case("column missing altogether",
         lambda at: at.run(data__templates={"jinja": "{{ dialog }} ||| {{ summary }}"}),
         "recipe.yaml, line 2: rows.jsonl: no column 'dialog', which template 'inline' needs; "
         "columns present: dialogue, summary. "
         "Did you mean data.columns: {dialog: dialogue}?"),
    Case("empty completion in 2 of 24 rows (8%)", lambda at: empty_completions(at, 2),
         "rows.jsonl, line 1: the completion is empty, as in 2 of 24 rows; at most 5% may be"),
    Case("every row longer than max_length", _long_rows,
         "recipe.yaml, line 4: train.max_length: every train row (16) is longer; raise it, or "),
    Case("label missing (null)", lambda at: _with_row(at, 5, {**ROWS[4], "summary": None}),
         "{% if summary is not none %} ... {% endif %} around the completion leaves such rows "
         "out."),
    Case("unknown model folder", lambda at: at.run(model=str(at.copy_of_model()) + "x"),
         "copy'? Valid: bundled, a folder"),
    Case("folder that is not a model", _not_a_model, "photos: not a model folder"),
    Case("safetensors cut short", lambda at: _damaged(at, "model.safetensors", lambda d: d[:-100]),
         "copy/model.safetensors: corrupt safetensors: "),
    Case("safetensors with a broken header",
         lambda at: _damaged(at, "model.safetensors", lambda d: _flip(d, 8)),
         "copy/model.safetensors: corrupt safetensors: "),
    Case("safetensors with a header of impossible length",
         lambda at: _damaged(at, "model.safetensors", lambda d: _flip(d, 5)),
         "model.safetensors: corrupt safetensors: its header claims"),
    Case("weights as pickle", _pickle, "only safetensors is read, never pickle"),
    Case("broken config.json", lambda at: _damaged(at, "config.json", lambda d: d[:50]), "copy: "),
    Case("config.json of another size", lambda at: _damaged(at, "config.json", _widened),
         "has shape (300, 32), but its config.json describes (300, 64)."),
    Case("GGUF cut short", lambda at: _gguf(at, lambda d: d[:-300]),
         "tiny.gguf: corrupt or truncated GGUF"),
    Case("GGUF with broken metadata", lambda at: _gguf(at, lambda d: _flip(d, 12)),
         "tiny.gguf: corrupt or truncated GGUF"),
    Case("file that is no GGUF", lambda at: at.run(model="rows.jsonl"),
         "rows.jsonl: not a GGUF file"),
    Case("adapter given as the model", lambda at: at.run(model="runs/one/adapter"),
         "runs/one/adapter: this is an adapter, not a base model", _short_training),
    Case("run given as the model", lambda at: at.run(model="runs/one"),
         "runs/one: this is a run, not a base model", _short_training),
    Case("another rank than that of the adapter to start from",
         lambda at: at.run(method={"start": "runs/one", "rank": 8}),
         "method.rank = 8, but runs/one, from which training starts, has 2", _short_training),
    Case("adapter to start from that is nowhere",
         lambda at: at.run(method={"start": "runs/onne"}),
         "runs/onne: no such folder. Did you mean runs/one?", _short_training),
    Case("unknown method", lambda at: at.run(method={"name": "lorra"}),
         "unknown method 'lorra'; did you mean 'lora'?"),
    Case("unknown option of the method", lambda at: at.run(method={"name": "lora", "rnk": 2}),
         "unknown key 'method.rnk'; did you mean 'rank'?"),
    Case("unknown metric", lambda at: at.run(evaluate__metrics=["rogue"]),
         "unknown metric 'rogue'; did you mean 'rouge'"),
    Case("reference that is not JSON", lambda at: at.run(evaluate__metrics=["json"]),
         "metric json compares JSON, and the reference"),
    Case("tool calls of rows without tools", lambda at: at.run(evaluate__metrics=["tool_calls"]),
         "rows.jsonl: metric tool_calls judges the calls of chats with tools"),
    Case("unknown metric of a plan", lambda at: ["plan", at.write(evaluate__metrics=["rogue"])],
         "recipe.yaml, line 5: unknown metric 'rogue'; did you mean 'rouge'"),
    Case("model that is nowhere, to be planned", lambda at: ["plan", at.write(model="nowhere")],
         "recipe.yaml, line 1: model 'nowhere': no such folder or file"),
    Case("model that is nowhere, to be inspected",
         lambda at: ["data", "inspect", at.write(model="./nowhere")],
         "recipe.yaml, line 1: model './nowhere': no such folder"),
    Case("mistyped run, to be scored on a suite whose files are not here",
         lambda _: ["eval", "runs/onne", "--suite", "mmlu"],
         "model 'runs/onne': no such folder or file. Did you mean 'runs/one'?", _short_training),
    Case("unknown guard", lambda at: at.run(evaluate__guards=["plain-prosa"]),
         "unknown guard 'plain-prosa'; did you mean 'plain-prose'?"),
    Case("unknown template family", lambda at: at.run(data__templates="dialog-summary"),
         "recipe.yaml, line 2: templates: unknown template family 'dialog-summary'; "
         "did you mean 'dialogue-summary'"),
    Case("unknown template of a family",
         lambda at: at.run(data__templates="dialogue-summary/plian"),
         "unknown template 'plian'; did you mean 'plain'"),
    Case("unknown recipe key", _mistyped_key,
         "recipe.yaml, line 4: unknown key 'train.learning_rat'; did you mean 'learning_rate'?"),
    Case("wrong type in the recipe", lambda at: at.run(train={"epochs": "three"}),
         "recipe.yaml, line 4: train.epochs = 'three' is not valid"),
    Case("run folder of a different recipe", lambda at: at.run(method={"name": "lora", "rank": 4}),
         "runs/recipe: this run folder already holds a different recipe: method.rank is 2 there "
         "and 4 now. Use --fresh", lambda at: [["train", at.write()]]),
    Case("resuming a run under a mistyped name", lambda _: ["resume", "runs/onne"],
         "runs/onne: no run is here; a run's folder holds recipe.yaml. Did you mean runs/one?",
         _short_training),
    Case("resuming a folder that is no run", lambda at: ["resume", str(at.model)],
         "no run is here; a run's folder holds recipe.yaml"),
    Case("folder with other files in it", _other_files,
         "letters: this folder is not empty and holds no run; name another."),
    Case("file where the folder should be", _file_as_folder,
         "runs: a file, where the run's folder should be; name another."),
    Case("loss that is not finite",
         lambda at: at.run(train__learning_rate=1e30, train__warmup=0.0),
         "; its rows: rows.jsonl, line "),
]  # fmt: skip


@dataclass(frozen=True)
class Finished:
    """What a process left behind."""

    code: int
    out: str
    err: str


def interrupt(
    command: Sequence[str],
    at: Place,
    env: Mapping[str, str],
    growing: str,
    number: int = signal.SIGINT,
) -> Finished:
    """Start a command, wait until the file `growing` holds a line, send a signal, wait for the end.

    Raises AssertionError with what was printed if the process ends before.
    """
    process = subprocess.Popen(
        command, cwd=at.folder, env=dict(env), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    file = at.folder / growing
    try:
        while not (file.is_file() and "\n" in file.read_text(encoding="utf-8")):
            assert process.poll() is None, f"ended before {growing} grew: {process.communicate()}"
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return Finished(process.returncode, out, err)


def make_gguf(file: Path) -> Path:
    """Write a whole GGUF: what a Llama of one layer needs, with random weights."""
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b", "ab", "<|end|>"])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(3)
    block = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (8, 8))
    block |= {"ffn_gate": (16, 8), "ffn_up": (16, 8), "ffn_down": (8, 16)}
    block |= {"attn_norm": (8,), "ffn_norm": (8,)}
    shapes = {f"blk.0.{name}.weight": shape for name, shape in block.items()}
    shapes |= {"token_embd.weight": (4, 8), "output.weight": (4, 8), "output_norm.weight": (8,)}
    for name, shape in shapes.items():
        writer.add_tensor(name, np.random.default_rng(0).normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file

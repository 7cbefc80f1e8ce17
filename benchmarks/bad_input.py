"""The installed `brulee`'s message for every bad input, as a Markdown table.

    python benchmarks/bad_input.py > table.md        # some minutes: every row is a fresh process

The cases are those of tests/bad_inputs.py, run on a tiny model built for them; the rows about disks
need permission to mount a tmpfs. Exits 1 if a case did not end as it should.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

BAD = runpy.run_path(str(Path(__file__).parents[1] / "tests" / "bad_inputs.py"))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
# Lines of the bars that are drawn where a machine is so busy that a training takes seconds.
PROGRESS = re.compile(r"^[A-Z][\w ]*: \d+/\d+ .*\n", re.MULTILINE)
ALLOWED = ("empty completion in 1 of 24 rows (4%)",)
CHAT = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def main() -> None:
    command = installed_command()
    with tempfile.TemporaryDirectory() as scratch:
        model = make_model(Path(scratch) / "tiny-llama")
        print("| bad input | what was printed | exit code |\n|---|---|--:|")
        wrong = 0
        for title, run in cases(command):
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                at = BAD["Place"](Path(folder), model)
                code, said = run(at)
                said = said.replace(f"{folder}/", "").replace(f"{scratch}/", "")
                said = PROGRESS.sub("", said)
            refused = 0 if title in ALLOWED else 1
            wrong += (code, said.count("error: ")) != (2 * refused, refused) or "Trace" in said
            shown = said.strip().replace("|", "\\|").replace("\n", "<br>")
            print(f"| {title} | `{shown}` | {code} |", flush=True)
    sys.exit(1 if wrong else 0)


def cases(command: str) -> Iterator[tuple[str, Callable[[Any], tuple[int, str]]]]:
    """Every case as its title and a function that provokes the error."""
    for case in BAD["CASES"]:
        yield case.title, partial(provoke, command, case)
    yield ALLOWED[0], lambda at: few_empty(command, at)
    yield "read-only disk", lambda at: on_disk(command, at, "remount,ro")
    yield "disk that fills up while training", lambda at: on_disk(command, at, None)
    yield "Ctrl-C during training", lambda at: stopped(command, at, "train", signal.SIGINT)
    yield "SIGTERM during training", lambda at: stopped(command, at, "train", signal.SIGTERM)
    yield "Ctrl-C during scoring", lambda at: stopped(command, at, "run", signal.SIGINT)


def provoke(command: str, case: Any, at: Any) -> tuple[int, str]:
    for arguments in case.first(at):
        code, said = call(command, at, *arguments)
        assert code == 0, said
    return call(command, at, *case.arrange(at))


def few_empty(command: str, at: Any) -> tuple[int, str]:
    BAD["empty_completions"](at, 1)
    code, said = call(command, at, "train", at.write())
    split = json.loads((at.folder / "runs/recipe/split.json").read_text())
    return code, f"{said}split.json: {json.dumps(split['rows'])}"


def stopped(command: str, at: Any, verb: str, number: int) -> tuple[int, str]:
    """Interrupt a run, then check that the command it printed finishes it."""
    at.recipe["train"]["epochs"] = 40
    at.recipe["evaluate"] |= {"batch_tokens": 64, "generation": {"max_new_tokens": 120}}
    growing = "events.jsonl" if verb == "train" else "eval/base/rows-test.jsonl"
    arguments = [command, verb, at.write(), "--quiet"]
    done = BAD["interrupt"](arguments, at, ENVIRONMENT, f"runs/recipe/{growing}", number)
    _, _, line = done.err.strip().rpartition("Continue with: brulee ")
    resumed = subprocess.run(
        f"{command} {line} --quiet", shell=True, cwd=at.folder, env=ENVIRONMENT, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    return done.code, done.err


def on_disk(command: str, at: Any, change: str | None) -> tuple[int, str]:
    """Train on a file system of 512 KiB, first remounted with the options `change`, if any."""
    with small_disk(at.folder / "disk") as disk:
        if change:
            mount("-o", change, disk)
        often = {"epochs": 5, "save_every": 1, "keep_checkpoints": 100}
        recipe = at.write(train=at.recipe["train"] | often)
        return call(command, at, "train", recipe, "--folder", str(disk / "run"))


@contextmanager
def small_disk(disk: Path) -> Iterator[Path]:
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=512k", "tmpfs", disk)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def call(command: str, at: Any, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [command, *arguments], cwd=at.folder, env=ENVIRONMENT, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def installed_command() -> str:
    beside = Path(sys.executable).with_name("brulee")
    found = str(beside) if beside.is_file() else shutil.which("brulee")
    if found is None:
        sys.exit("no brulee command: install the package into this environment first.")
    return found


def make_model(folder: Path) -> Path:
    """A two-layer Llama with random weights and a byte-level tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(["Ana said the parcel was late; it is sent again."], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<|end|>"
    )
    tokenizer.chat_template = CHAT
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=512, pad_token_id=0, eos_token_id=2,
        bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()

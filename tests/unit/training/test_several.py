"""Two processes train as one does: the same losses, every row once, one checkpoint for both."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BertConfig

from brulee import progress
from brulee.errors import InputError, StoppedError
from brulee.models.loading import Base
from brulee.training import world
from brulee.training.events import read_events
from brulee.training.world import World, joined

WORKER = Path(__file__).with_name("several.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ONE: dict[str, Any] = runpy.run_path(str(WORKER))


def launch(model: Path, folder: Path, *cases: str, by: Sequence[str] = (), **more: str) -> None:
    """Train in two processes, started with the arguments `by` or else forked from one."""
    source = str(Path(__file__).parents[3] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *by, WORKER, model, folder, *cases],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def curve(folder: Path) -> list[tuple[str, int, float, float | None]]:
    kinds = ("step", "validation")
    events = [e for e in read_events(folder / "events.jsonl") if e["event"] in kinds]
    return [(e["event"], e["step"], e["loss"], e.get("grad_norm")) for e in events]


def assert_same_curve(found: Path, expected: Path) -> None:
    a, b = curve(found), curve(expected)
    assert [x[:2] for x in a] == [x[:2] for x in b]
    for x, y in zip(a, b, strict=True):
        assert x[2] == pytest.approx(y[2], abs=1e-5)
        assert (x[3] or 0.0) == pytest.approx(y[3] or 0.0, rel=1e-3, abs=1e-5)


def alone(model: Path, folder: Path, case: str) -> Path:
    """The same case in this process."""
    target = folder / f"alone-{case.split(':go')[0]}"
    target.mkdir(exist_ok=True)
    ONE["train"](case, model, target)
    return target


@pytest.fixture(scope="module")
def trained(
    tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> Path:
    """Trainings by two processes with whole weights and with sharded ones, and alone.

    All in one launch: what processes import takes longer than what they do.
    """
    folder = tmp_path_factory.mktemp("several")
    whole, sharded = ("lora", "full", "lora:halt=3"), ("full", "lora")
    halted = [f"{method}:halt=3:sharded=yes" for method in sharded]
    launch(tiny_model_folder, folder, *whole, *halted)
    for method in sharded:
        alone(tiny_model_folder, folder, method)
    return folder


def assert_as_alone(folder: Path, method: str) -> None:
    """The losses of one process, from all rows once, written by the first."""
    assert_same_curve(folder / method, folder / f"alone-{method}")
    read = [json.loads((folder / f"{method}-{rank}.json").read_text()) for rank in (0, 1)]
    assert sorted(read[0] + read[1]) == list(range(22)), "a row was missed or read twice"
    assert len(read[0]) == len(read[1]) == 11
    assert not (folder / method / "nobody").exists(), "the second process wrote"


def test_two_processes_give_the_losses_of_one(
    tiny_model_folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("lora", "full"):
        assert_as_alone(trained, method)

    # Halted after step 3 by a signal to one of the two; one process goes on.
    halted = trained / "lora:halt=3"
    assert [p.name for p in sorted((halted / "checkpoints").iterdir())] == ["step-2", "step-3"]
    with progress.shown(True):
        ONE["train"]("lora", tiny_model_folder, halted)
    assert "step 3 was reached by 2 processes, and 1 goes on: " in capsys.readouterr().err
    assert_same_curve(halted, trained / "lora")


@pytest.mark.slow  # above they are named as torchrun names them
def test_torchrun_starts_them(tiny_model_folder: Path, tmp_path: Path, one_thread: None) -> None:
    launch(tiny_model_folder, tmp_path, "lora", "full", by=TORCHRUN)
    for method in ("lora", "full"):
        alone(tiny_model_folder, tmp_path, method)
        assert_as_alone(tmp_path, method)


@pytest.mark.slow
def test_two_processes_go_on_from_one(
    tiny_model_folder: Path, tmp_path: Path, one_thread: None
) -> None:
    straight = alone(tiny_model_folder, tmp_path, "full")
    (tmp_path / "full").mkdir()
    ONE["train"]("full:halt=3", tiny_model_folder, tmp_path / "full")
    assert len(curve(tmp_path / "full")) < len(curve(straight))
    launch(tiny_model_folder, tmp_path, "full:go=on")
    assert_same_curve(tmp_path / "full", straight)


def test_sharded_weights_give_the_losses_of_one_process(
    tiny_model_folder: Path, trained: Path
) -> None:
    for method in ("full", "lora"):
        halted = trained / f"{method}:halt=3:sharded=yes"
        assert [p.name for p in sorted((halted / "checkpoints").iterdir())] == ["step-2", "step-3"]
        ONE["train"](method, tiny_model_folder, halted)
        assert_same_curve(halted, trained / f"alone-{method}")


@pytest.mark.slow
def test_sharded_weights_wait_for_who_has_a_document_more(
    tiny_model_folder: Path, tmp_path: Path, one_thread: None
) -> None:
    """Of a last step of one document one of the two processes has no pass."""
    odd = "full:count=9"
    launch(tiny_model_folder, tmp_path, odd, ACCELERATE_USE_FSDP="true")
    assert_same_curve(tmp_path / odd, alone(tiny_model_folder, tmp_path, odd))


@pytest.mark.slow
@pytest.mark.parametrize(
    "sharded", [{}, {"ACCELERATE_USE_FSDP": "true"}], ids=["copied", "sharded"]
)
def test_prompts_count_by_their_weight_in_two_processes(
    tiny_model_folder: Path, tmp_path: Path, one_thread: None, sharded: bool
) -> None:
    case = "full:prompts=0.3"
    more = {"ACCELERATE_USE_FSDP": "true"} if sharded else {}
    launch(tiny_model_folder, tmp_path, case, **more)
    straight = alone(tiny_model_folder, tmp_path, case)
    assert_same_curve(tmp_path / case, straight)
    assert curve(straight) != curve(alone(tiny_model_folder, tmp_path, "full"))


@pytest.mark.slow
def test_sharded_weights_wait_for_no_pass_that_another_process_lacks(
    tiny_model_folder: Path, tmp_path: Path, one_thread: None
) -> None:
    """The last step has three documents in passes of one."""
    case = "full:count=7:pass=1"
    launch(tiny_model_folder, tmp_path, case, ACCELERATE_USE_FSDP="true")
    assert_same_curve(tmp_path / case, alone(tiny_model_folder, tmp_path, case))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_adapters_are_whole_on_sharded_weights(
    name: str, make_base: Callable[..., Base], tmp_path: Path, one_thread: None
) -> None:
    base, model = make_base(name), tmp_path / "model"
    base.model.save_pretrained(model)
    base.tokenizer.save_pretrained(model)
    embeddings = "lora:target=embeddings"
    cases = ("lora:look=2", embeddings, "selective", "bottleneck", "ia3", "prompt", "prefix")
    cases = cases if name == "llama" else cases[1:]  # which is looked at as a causal model
    launch(model, tmp_path, *cases, ACCELERATE_USE_FSDP="true")
    for case in cases:
        assert_same_curve(tmp_path / case, alone(model, tmp_path, case))


@pytest.mark.slow
@pytest.mark.parametrize("by", ["adafactor", "muon", "lion"])
def test_optimisers_that_need_matrices_whole_have_them_so(
    by: str, tiny_model_folder: Path, tmp_path: Path, one_thread: None
) -> None:
    """With sharded weights and without; and one process goes on with what two have written."""
    cases = (f"full:by={by}:decay=0.1", f"full:by={by}:decay=0.1:halt=3")
    straight = alone(tiny_model_folder, tmp_path, cases[0])
    for name, more in (("copied", {}), ("sharded", {"ACCELERATE_USE_FSDP": "true"})):
        (folder := tmp_path / name).mkdir()
        launch(tiny_model_folder, folder, *cases, **more)
        assert_same_curve(folder / cases[0], straight)
        ONE["train"](cases[0], tiny_model_folder, folder / cases[1])
        assert_same_curve(folder / cases[1], straight)


@pytest.mark.slow
def test_sharded_weights_are_whole_while_the_model_writes(
    tiny_model_folder: Path, tmp_path: Path, one_thread: None
) -> None:
    case = "full:look=2"
    launch(tiny_model_folder, tmp_path, case, ACCELERATE_USE_FSDP="true")
    straight = alone(tiny_model_folder, tmp_path, case)
    assert_same_curve(tmp_path / case, straight)
    seen = [
        [
            (e["step"], e["scores"]["spread"])
            for e in read_events(f / "events.jsonl")
            if "scores" in e
        ]
        for f in (tmp_path / case, straight)
    ]
    assert [step for step, _ in seen[1]] == [2, 4, 6]
    assert [s for _, s in seen[0]] == pytest.approx([s for _, s in seen[1]], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t5", "t5-gated"])
def test_encoder_decoders_do_so_too(
    name: str, make_base: Callable[..., Base], tmp_path: Path, one_thread: None
) -> None:
    """In packs in every process, or sharded and by their own layers; heads tied and not."""
    base, model = make_base(name), tmp_path / "model"
    base.model.save_pretrained(model)
    base.tokenizer.save_pretrained(model)
    straight = alone(model, tmp_path, "full")
    launch(model, tmp_path, "full")
    assert_same_curve(tmp_path / "full", straight)
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    launch(model, sharded, "full", ACCELERATE_USE_FSDP="true")
    assert_same_curve(sharded / "full", straight)


@pytest.mark.slow
def test_a_sharded_model_that_reads_ahead_is_refused_in_all_processes(
    make_tokenizer: Callable[..., Any], tmp_path: Path
) -> None:
    model, case = tmp_path / "model", "lora:refused=depend"
    sizes = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    encoder = BertConfig(**sizes, num_attention_heads=2, initializer_range=0.25)
    AutoModelForCausalLM.from_config(encoder).save_pretrained(model)
    make_tokenizer().save_pretrained(model)
    launch(model, tmp_path, case, ACCELERATE_USE_FSDP="true")
    assert sorted(tmp_path.glob("*.json")) == [tmp_path / f"{case}-{rank}.json" for rank in (0, 1)]


@pytest.mark.slow
def test_what_no_process_has_a_gradient_of_is_told_and_left_as_it_began(
    make_base: Callable[..., Base], tmp_path: Path
) -> None:
    base = make_base("mamba")  # whose dt_proj is never called
    base.model.save_pretrained(tmp_path / "mamba")
    base.tokenizer.save_pretrained(tmp_path / "mamba")
    case = "lora:decay=0.5"
    launch(tmp_path / "mamba", tmp_path, case)
    two, one = tmp_path / case, alone(tmp_path / "mamba", tmp_path, case)
    told = [[e for e in read_events(f / "events.jsonl") if "reason" in e] for f in (two, one)]
    assert told[0] == told[1] != []
    assert_same_curve(two, one)
    weights = [load_file(f / "checkpoints/step-6/weights.safetensors") for f in (two, one)]
    for key, value in weights[0].items():
        assert torch.allclose(value, weights[1][key], atol=1e-4), key


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1"),
        torch.distributed.DistBackendError("NCCL communicator was aborted on rank 0."),
    ],
    ids=["gloo", "nccl"],
)
def test_a_process_that_is_killed_ends_the_others_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise error

    calls: dict[str, Callable[[World], object]] = {
        "all_reduce": lambda world: world.sum(torch.ones(1)),
        "all_gather_object": lambda world: world.gather(1),
        "broadcast_object_list": lambda world: world.same(1),
        "barrier": lambda world: world.wait(),
    }
    for name, call in calls.items():
        monkeypatch.setattr(torch.distributed, name, lost)
        with pytest.raises(StoppedError, match="another of the 2 processes ended"):
            call(World(0, 2))
    monkeypatch.setattr(torch.distributed, "barrier", lambda **_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        World(0, 2).wait()


@pytest.mark.parametrize(("device", "own"), [("cuda:1", [1]), ("cpu", None)])
def test_a_process_says_on_which_gpu_it_waits(
    monkeypatch: pytest.MonkeyPatch, device: str, own: list[int] | None
) -> None:
    """PyTorch warns of having to choose one."""
    waited: list[Any] = []
    monkeypatch.setattr(
        torch.distributed, "barrier", lambda device_ids=None: waited.append(device_ids)
    )
    World(0, 2, device=torch.device(device)).wait()
    assert waited == [own]


@pytest.mark.parametrize(
    ("device", "gpus", "says"),
    [
        ("cuda:1", 4, r"train.device: 'cuda:1' is one GPU, .* valid with several: auto, cuda, cpu"),
        ("auto", 1, r"3 processes .* shows 1 GPUs; start at most 1"),
    ],
)
def test_processes_that_would_share_a_gpu_are_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, says: str
) -> None:
    """Instead of an error of the library between them, long after."""
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(InputError, match=says), joined(device):
        pass


@pytest.mark.parametrize(
    ("device", "gpus", "here"), [("auto", 4, 3), ("cpu", 1, 3), ("auto", 0, 3), ("cuda:0", 1, 1)]
)
def test_processes_with_a_place_each_are_not(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, here: int
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    world._check_gpus(device, here)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    world._check_gpus("auto", 3)

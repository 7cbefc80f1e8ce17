"""A run over a mixture: each task measured, the held-out one only scored, the mix written down."""

import json
import shutil
from pathlib import Path
from typing import Any

from brulee.reporting import results

RUN = Path("runs/recipe")
SHORT = {"prompt": "In short: {{ dialogue }}", "completion": "{{ summary }}"}
BACK = {"prompt": "What was said? {{ summary }}", "completion": "{{ dialogue }}"}


def mixture(at: Any, **more: Any) -> Any:
    """Two tasks over rows.jsonl and one over a copy of it."""
    Path("other.jsonl").write_text(Path("rows.jsonl").read_text().replace("order", "parcel"))
    one = at.recipe["data"]
    tasks = [
        {**one, "name": "sum-up"},
        {**one, "name": "back", "templates": BACK, "metrics": ["rouge"]},
        {**one, "name": "short", "source": "other.jsonl", "templates": SHORT, "cluster": "short"},
    ]
    return at.run(data={"tasks": tasks, "mix": {"kind": "equal"}, **more})


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def test_every_task_is_measured_and_the_mix_is_written_down(at: Any, brulee: Any) -> None:
    called = brulee(*mixture(at))
    assert called.code == 0, called.err
    found = results.read(RUN)
    metrics: dict[str, list[str]] = {}
    for pair in found.comparisons:
        metrics.setdefault(pair.task, []).append(pair.metric)
    rouge = ["rouge1", "rouge2", "rougeL"]
    assert metrics == {
        "sum-up/test": [*rouge, "bleu"], "back/test": rouge, "short/test": [*rouge, "bleu"]
    }  # fmt: skip
    assert set(read(RUN / "split.json")["tasks"]) == {"sum-up", "back", "short"}
    lines = read(RUN / "manifest.json")["mixture"]
    assert [line["task"] for line in lines] == ["sum-up", "back", "short"]
    assert sum(line["draws"] for line in lines) == 48
    assert abs(sum(line["token_share"] for line in lines) - 1) < 1e-9
    shown = called.err.splitlines()
    assert any(
        line.split()[:6] == ["task", "rows", "rate", "draws", "epochs", "tokens"] for line in shown
    )
    assert "16" in next(line for line in shown if line.startswith("back"))
    assert "3 tasks" in found.verdict
    assert [line.model_dump() for line in found.mixture] == lines
    assert "What it was trained on" in (RUN / "report.html").read_text()


def test_a_held_out_cluster_is_scored_and_not_trained_on(at: Any, brulee: Any) -> None:
    called = brulee(*mixture(at, hold_out={"clusters": ["short"]}))
    assert called.code == 0, called.err
    found = results.read(RUN)
    assert {pair.task for pair in found.comparisons if not pair.trained} == {"short/test"}
    split = read(RUN / "split.json")["tasks"]
    assert split["short"]["used"]["train"] == 0
    assert split["short"]["held_out"] == "cluster short"
    assert "short: held out, scored only (cluster short)." in called.err
    places = {
        e
        for line in (RUN / "events.jsonl").read_text().splitlines()
        for e in [line]
        if "other.jsonl" in e
    }
    assert not places


def test_a_resumed_mixture_ends_where_an_unbroken_one_does(at: Any, brulee: Any) -> None:
    arguments = mixture(at)
    assert brulee(*arguments, "--set", "train.save_every=2").code == 0
    whole = (RUN / "adapter/adapter_model.safetensors").read_bytes()
    half = Path(shutil.copytree(RUN, "half"))
    for name in ("adapter", "results.json", "report.html"):
        target = half / name
        if target.is_dir():
            for file in target.iterdir():
                file.unlink()
            target.rmdir()
        else:
            target.unlink()
    newest = max((half / "checkpoints").iterdir(), key=lambda p: int(p.name.rsplit("-", 1)[1]))
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    assert brulee("resume", "half").code == 0
    assert (half / "adapter/adapter_model.safetensors").read_bytes() == whole


def test_a_task_without_validation_rows_leaves_the_others_their_completions(
    at: Any, brulee: Any
) -> None:
    Path("other.jsonl").write_text(Path("rows.jsonl").read_text().replace("order", "parcel"))
    one = at.recipe["data"]
    none = {**one, "name": "none", "source": "other.jsonl", "split": {"test": 0.25}}
    data = [none, {**one, "name": "some"}]
    assert brulee("train", at.write(data=data, train__generate_every=2)).code == 0
    lines = (RUN / "events.jsonl").read_text().splitlines()
    found = [e for e in map(json.loads, lines) if e["event"] == "completions"]
    assert found[0]["samples"]
    assert "some/rouge1" in found[0]["scores"]

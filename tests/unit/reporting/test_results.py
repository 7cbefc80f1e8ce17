import json
from pathlib import Path

import pytest

from brulee.errors import BruleeError, InputError
from brulee.reporting import results as r


def sample(**changes: object) -> r.Results:
    values: dict[str, object] = {
        "schema": 1,
        "run": "demo",
        "base": r.Base(name="bundled", digest="abc"),
        "method": r.Method.model_validate({"name": "lora", "label": "LoRA r8", "rank": 8}),
        "scores": (
            r.Score(who="base", task="t/test", metric="rouge1", value=0.3, low=0.2, high=0.4, n=9),
        ),
    }
    return r.Results.model_validate(values | changes)


def paired(**changes: object) -> r.Comparison:
    values: dict[str, object] = {
        "task": "t/test", "metric": "rouge1", "base": 0.3, "tuned": 0.4, "difference": 0.1,
        "low": 0.05, "high": 0.15, "p": 0.001, "wins": 6, "losses": 2, "ties": 1,
    }  # fmt: skip
    return r.Comparison.model_validate(values | changes)


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    written = sample(comparisons=(paired(),), verdict="Better.")
    path = r.write(written, tmp_path / "run")
    assert path == tmp_path / "run" / "results.json"
    assert r.read(path) == written
    assert r.read(tmp_path / "run") == written
    assert r.read(path).method.extra == {"rank": 8}


def test_a_file_from_before_trainings_were_told_is_still_read(tmp_path: Path) -> None:
    went = r.Training(steps=9, planned_steps=12, kept_step=6, stopped_early=True)
    file = r.write(sample(training=went), tmp_path)
    assert r.read(file).training == went
    stored = json.loads(file.read_text())
    del stored["training"]
    file.write_text(json.dumps(stored))
    assert r.read(file).training is None


def test_the_file_has_the_documented_keys_and_no_leftover_beside_it(tmp_path: Path) -> None:
    stored = json.loads(r.write(sample(), tmp_path).read_text())
    assert stored["schema"] == 1
    assert stored["method"] == {"name": "lora", "label": "LoRA r8", "rank": 8}
    assert set(stored) >= {"run", "base", "scores", "comparisons", "forgetting", "cost"}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path, number: float) -> None:
    broken = sample(comparisons=(paired(), paired(low=number)))
    with pytest.raises(BruleeError, match=r"comparisons\[1\]\.low is (nan|inf)"):
        r.write(broken, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    r.write(sample(), tmp_path)
    with pytest.raises(BruleeError):
        r.write(sample(cost=r.Cost(train_seconds=float("nan"))), tmp_path)
    assert r.read(tmp_path) == sample()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema 2 is not known; this version reads schema 1"),
        ({"run": None}, "run = None"),
        ({"scores": [{"who": "base"}]}, r"the key 'scores\.0\.task' is missing"),
        ({"cost": {"train_seconds": "fast"}}, r"cost\.train_seconds = 'fast'"),
        ({"lengths": [{"who": "someone"}]}, r"lengths\.0\.who = 'someone'"),
    ],
)
def test_a_malformed_file_is_named_with_its_key(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    file = tmp_path / "results.json"
    stored = json.loads(sample().model_dump_json(by_alias=True)) | change
    file.write_text(json.dumps(stored))
    with pytest.raises(InputError, match=said) as caught:
        r.read(file)
    assert str(file) in str(caught.value)


def test_missing_and_unparsable_files_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        r.read(tmp_path)
    (tmp_path / "results.json").write_text("{oops")
    with pytest.raises(InputError, match="not valid JSON"):
        r.read(tmp_path)
    nan = sample().model_dump_json(by_alias=True).replace("0.3", "NaN")
    (tmp_path / "results.json").write_text(nan)
    with pytest.raises(InputError, match=r"scores\[0\]\.value is nan"):
        r.read(tmp_path)


@pytest.mark.parametrize(
    ("low", "high", "p", "said"),
    [
        (-0.1, -0.01, 0.01, "forgot"),
        (-0.1, -0.01, 0.05, "unclear"),
        (-0.01, -0.001, 0.06, "kept"),
        (0.01, 0.1, 0.01, "improved"),
        (0.01, 0.1, 0.2, "kept"),
        (-0.02, 0.01, 0.01, "kept"),
        (-0.05, 0.03, 0.01, "unclear"),
    ],
)
def test_a_guard_is_judged_by_its_interval_and_p(
    low: float, high: float, p: float, said: str
) -> None:
    assert r.outcome(low, high, p) == said
    assert (said in {"forgot", "improved"}) == bool(paired(low=low, high=high, p=p).direction)


def test_direction_needs_interval_and_p_to_agree() -> None:
    assert paired().direction == 1
    assert paired(p=0.2).direction == 0
    assert paired(low=-0.01).direction == 0
    assert paired(difference=-0.1, low=-0.2, high=-0.05).direction == -1


def test_a_metric_where_lower_is_better_turns_the_sign() -> None:
    loss = paired(difference=-0.1, low=-0.2, high=-0.05, higher_is_better=False)
    assert loss.gain == (0.1, 0.05, 0.2)
    assert loss.direction == 1


def test_a_score_that_only_describes_moves_without_a_direction() -> None:
    copied = paired(descriptive=True)
    assert (copied.direction, copied.moved) == (0, 1)
    assert paired(difference=-0.1, low=-0.2, high=-0.05, descriptive=True).moved == -1
    assert paired(p=0.2, descriptive=True).moved == 0


def test_the_trainable_share_is_unknown_without_a_total() -> None:
    assert r.Cost().trainable_share is None
    assert r.Cost(trainable_parameters=2, total_parameters=8).trainable_share == 0.25

"""An inspection of small recipes: what it counts is what training will do."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from brulee.data import inspection as module
from brulee.data.corpus import open_corpus
from brulee.data.encoding import Encoder
from brulee.data.inspection import Inspection, inspect
from brulee.errors import InputError
from brulee.recipe import recipe_from_dict

PHRASED = {"prompt": "Is it so?\n{{text}}", "completion": "{{label}}"}
Look = Callable[..., Inspection]


@pytest.fixture
def look(make_tokenizer, chat_templates) -> Look:
    def make(data: Any, train: dict[str, Any] | None = None, **options: Any) -> Inspection:
        recipe = recipe_from_dict({"name": "it", "data": data, "train": train or {}})
        length = recipe.train.max_length
        encoder = Encoder(make_tokenizer(chat_templates["chatml"]), max_length=length)
        return inspect(recipe, open_corpus(recipe), encoder, **options)

    return make


def table(folder: Path, name: str, count: int, words: int = 3, labels: int = 2) -> str:
    file = folder / f"{name}.csv"
    lines = [f"{name} {' '.join(f'w{i}x{k}' for k in range(words))},l{i % labels}"
             for i in range(count)]  # fmt: skip
    file.write_text("\n".join(["text,label", *lines]) + "\n")
    return str(file)


def task(source: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "templates": PHRASED, **more}


def test_it_is_plain_values_that_json_can_hold(look: Look, tmp_path: Path) -> None:
    found = json.loads(json.dumps(asdict(look(task(table(tmp_path, "a", 40))))))
    assert found["tasks"][0]["counts"] == {"train": 34, "validation": 0, "test": 6}
    assert found["total"]["total"] == found["prompt"]["total"] + found["completion"]["total"]
    assert found["rows"][0]["pieces"][0]["text"] == "<|im_start|>"


def test_draws_are_those_of_all_epochs_or_of_max_steps(look: Look, tmp_path: Path) -> None:
    source = table(tmp_path, "a", 40)
    assert look(task(source), {"epochs": 2.0}).draws == 68
    limited = look(task(source), {"max_steps": 3, "batch_size": 4, "accumulation": 2})
    assert (limited.draws, limited.measured) == (24, 24)


def test_what_is_encoded_is_bounded_and_said(look: Look, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 10)
    monkeypatch.setattr(module, "TEXTS", 12)
    found = look(task(table(tmp_path, "a", 40)))
    assert (found.draws, found.measured) == (102, 10)
    (facts,) = found.tasks
    assert (facts.texts.read, facts.texts.of) == (12, 40)


def test_realised_counts_and_epochs_are_known_before_training(look: Look, tmp_path: Path) -> None:
    """ALMA#63, datasets#5812: what a mixture drew was found out from the loss, days later."""
    small, large = table(tmp_path, "small", 20), table(tmp_path, "large", 200)
    mixture = {"tasks": [task(small), task(large)], "mix": {"kind": "equal"}}
    found = look(mixture, {"epochs": 3.0})
    by_name = {one.task: one for one in found.mix}
    assert sum(one.draws for one in found.mix) == found.draws == 3 * (17 + 170)
    assert by_name["small"].stated == by_name["large"].stated == 0.5
    # Half of all draws fall on 17 rows: nobody who reads "3 epochs" expects 16.
    assert by_name["small"].epochs == pytest.approx(found.draws / 2 / 17, rel=0.02)
    assert by_name["large"].epochs == pytest.approx(found.draws / 2 / 170, rel=0.02)
    assert [one.odd for one in found.mix] == [True, False]
    assert sum(one.token_share for one in found.mix) == pytest.approx(1.0)


def test_shares_of_tokens_differ_from_shares_of_draws(look: Look, tmp_path: Path) -> None:
    brief, long = table(tmp_path, "brief", 60), table(tmp_path, "long", 60, words=40)
    found = look([task(brief), task(long)])
    brief_mix, long_mix = found.mix
    assert brief_mix.share == pytest.approx(long_mix.share, abs=0.05)
    assert long_mix.token_share > 2 * brief_mix.token_share


def test_a_task_that_is_seldom_drawn_has_its_tokens_measured(look: Look, tmp_path: Path) -> None:
    rare, common = table(tmp_path, "rare", 30), table(tmp_path, "common", 300)
    weighed = {
        "tasks": [task(rare, weight=0.001), task(common, weight=1.0)],
        "mix": {"kind": "weights"},
    }
    found = look(weighed, {"epochs": 50.0})
    assert 0 < found.mix[0].draws < 30
    assert found.mix[0].tokens / found.mix[0].draws > 5


def test_every_template_gets_its_rows_and_its_share(look: Look, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(
        "templates:\n"
        "  a: {name: a, jinja: 'Is it so? {{text}} ||| {{label}}'}\n"
        "  b: {name: b, jinja: 'Well? {{text}} ||| {{label}}'}\n"
        "  c: {name: c, jinja: 'What is it? {{text}} ||| {{label}}'}\n"
    )
    data = task(table(tmp_path, "a", 60)) | {"templates": str(file), "hold_out_templates": ["c"]}
    found = look(data, rows=2)
    assert [(one.template, one.held_out) for one in found.rows] == [
        ("a", False), ("a", False), ("b", False), ("b", False), ("c", True), ("c", True),
    ]  # fmt: skip
    assert [one.template for one in found.templates] == ["a", "b"]
    assert sum(one.share for one in found.templates) == pytest.approx(1.0)
    # The same rows under every template, so that phrasings can be compared.
    assert found.rows[0].row == found.rows[2].row


def test_rows_that_would_make_too_large_a_page_are_counted(look: Look, tmp_path: Path) -> None:
    sources = [table(tmp_path, f"t{i}", 20) for i in range(4)]
    found = look([task(source) for source in sources], rows=5, most_shown=8)
    assert [one.task for one in found.rows] == [f"t{i}" for i in range(4) for _ in range(2)]
    assert found.rows_left_out == 12


def test_a_cut_row_is_among_those_shown(look: Look, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    lines = [f"{'word ' * (80 if i % 7 == 0 else 3)}{i},yes" for i in range(70)]
    file.write_text("\n".join(["text,label", *lines]) + "\n")
    found = look(task(str(file)), {"max_length": 64}, rows=1)
    (shown,) = found.rows
    assert shown.cut > 0
    assert found.cut_here.rows_cut > 0
    assert found.cut_here.misfits == found.left_out == 0


def test_a_row_that_does_not_fit_takes_another_template_or_is_left_out(
    look: Look, tmp_path: Path
) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(
        "templates:\n"
        "  a: {name: brief, jinja: 'Is it so? {{text}} ||| {{label}}'}\n"
        f"  b: {{name: wordy, jinja: '{'words ' * 60} {{{{text}}}} ||| {{{{label}}}}'}}\n"
    )
    found = look(task(table(tmp_path, "a", 60)) | {"templates": str(file)}, {"max_length": 64})
    brief, wordy = found.templates
    assert wordy.draws == 0
    assert brief.draws == found.measured
    assert found.cut_here.misfits > 0
    assert found.left_out == 0


def test_every_row_shown_ends_its_turn_and_reads_the_same(look: Look, tmp_path: Path) -> None:
    found = look(task(table(tmp_path, "a", 40)), rows=4).framing
    assert (found.checked, found.ends_turn, found.same_prompt, found.doubled_start) == (4, 4, 4, 0)


def test_labels_are_counted_by_split_and_texts_are_not(look: Look, tmp_path: Path) -> None:
    (labelled,) = look(task(table(tmp_path, "a", 60, labels=3))).tasks
    assert labelled.texts.labels is not None
    counts = labelled.texts.labels.counts
    assert set(counts) == {"train", "test"}
    assert [sum(of[label] for of in counts.values()) for label in ("l0", "l1", "l2")] == [20] * 3
    (free,) = look(task(table(tmp_path, "b", 60, labels=60))).tasks
    assert free.texts.labels is None
    assert free.texts.distinct_completions == 60


def test_rows_between_splits_and_repeats_are_found(look: Look, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    rows = [f"the guest in room {i} asked for a towel and a lamp,l{i % 2}" for i in range(40)]
    for name, part in (("train", rows[:30] + rows[:2]), ("test", rows[25:])):
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *part]) + "\n")
    (facts,) = look(task(str(folder)) | {"split": {"near_duplicates": False}}).tasks
    assert facts.duplicates == 2
    assert facts.published == ("test", "train")
    assert facts.texts.leakage.overlap("input", "train", "test").rows == 5
    assert any(severity == "error" for severity, _ in facts.texts.leaks)


def test_where_nothing_fits_the_reason_is_given(look: Look, tmp_path: Path) -> None:
    says = r"max_length = 8: .*; the shortest: .*a\.csv, line \d+ \(\d+ tokens\), of which \d+ are"
    with pytest.raises(InputError, match=says):
        look(task(table(tmp_path, "a", 20)), {"max_length": 8})


def test_rows_with_examples_lose_these_and_not_their_source(look: Look, tmp_path: Path) -> None:
    data = task(table(tmp_path, "a", 60)) | {"shots": {"count": 4, "share": 1.0}}
    found = look(data, {"max_length": 100})
    assert found.cut_here.fewer_examples > 0
    assert found.cut_here.rows_cut == found.cut_here.misfits == 0
    assert found.packing.padding > 0


def test_a_prompt_that_is_all_source_is_cut_and_not_left_out(look: Look, tmp_path: Path) -> None:
    columns = {"prompt": "text", "completion": "label"}
    source = table(tmp_path, "a", 40, words=60)
    found = look({"source": source, "columns": columns}, {"max_length": 64})
    (at_64,) = [cut for cut in found.cuts if cut.max_length == 64]
    assert at_64.rows_cut == found.measured > 0
    assert at_64.misfits == 0

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from brulee.cli.data_split import split
from brulee.cli.failures import sentences
from brulee.data.template import Rendered, Template

Split = Callable[..., tuple[int, str, str]]

RECIPE = """\
data:
  source: {source}
  templates: {{jinja: "{{{{text}}}} ||| {{{{label}}}}"}}
  split: {{test: 0.2, validation: 0.1}}
"""


@pytest.fixture
def data_split(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Split:
    app = typer.Typer()
    app.command()(sentences()(split))

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as left:
            app([*map(str, arguments), "--quiet"])
        done = capsys.readouterr()
        return left.value.code if isinstance(left.value.code, int) else 0, done.out, done.err

    return call


def words(seed: int) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(999)}" for _ in range(40)]


def write(file: Path, texts: list[str]) -> None:
    rows = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
    file.write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    texts = [" ".join(words(i)) for i in range(100)]
    texts += [texts[0], " ".join([*words(1)[:-1], "other"])]
    write(tmp_path / "rows.jsonl", texts)
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.format(source="rows.jsonl"))
    return file


def test_the_split_is_shown_and_nothing_is_written(
    data_split: Split, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, out, err = data_split(recipe, "--set", "data.split.stratify=label")
    assert (code, err) == (0, "")
    assert "102 rows of rows.jsonl, split by text, salt 'brulee', stratified by 'label'" in out
    assert "Left out: 1 duplicate." in out
    assert "grouped with an earlier row: 1; the largest group has 2 rows." in out
    assert ["a", "49.3%", "50.0%", "50.0%"] in [line.split() for line in out.splitlines()]
    assert "No input is in two splits." in out
    assert "The targets are labels (2 distinct)" in out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_each_row_is_rendered_once(
    data_split: Split, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered, render = [], Template.render

    def counted(self: Template, row: dict[str, Any], key: str = "") -> Rendered | None:
        rendered.append(row["text"])
        return render(self, row, key)

    monkeypatch.setattr(Template, "render", counted)
    assert data_split(recipe)[0] == 0
    assert len(rendered) == 102


def test_many_different_targets_are_not_counted_one_by_one(
    data_split: Split, recipe: Path, tmp_path: Path
) -> None:
    rows = [{"text": " ".join(words(i)), "label": f"l{i % 201}"} for i in range(820)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found: dict[str, Any] = json.loads(data_split(recipe, "--json")[1])["rows"]
    assert found["leakage"]["targets_are_labels"]
    assert found["leakage"]["distinct_targets"] == 201
    assert found["targets"] is None


def test_json_holds_counts_groups_and_the_leakage_report(data_split: Split, recipe: Path) -> None:
    code, out, _ = data_split(recipe, "--json")
    found: dict[str, Any] = json.loads(out)["rows"]
    assert code == 0
    assert found["used"] == {"train": 71, "validation": 10, "test": 20}
    assert (found["groups"], found["duplicates_removed"], found["near_duplicates_joined"]) == (
        *(100, 1, 1),
    )
    assert sum(found["targets"]["test"].values()) == 20
    assert {o["severity"] for o in found["leakage"]["overlaps"]} == {"none"}


def test_a_published_test_set_that_leaks_is_reported_with_both_places(
    data_split: Split, recipe: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    write(folder / "train.jsonl", [" ".join(words(i)) for i in range(30)])
    write(folder / "test.jsonl", [" ".join(words(i)) for i in (3, 50, 51, 52)])
    code, out, _ = data_split(recipe, "--set", "data.source=published")
    assert code == 0
    assert "test, train published, the rest by text" in out
    assert "error: 1 of the 4 test rows (25.0%) has an input that is also in train: " in out
    assert "published/train.jsonl, line 4 and published/test.jsonl, line 1." in out
    assert "No input is in two splits" not in out


def test_an_unknown_label_column_is_one_sentence(data_split: Split, recipe: Path) -> None:
    code, _, err = data_split(recipe, "--set", "data.split.stratify=lable")
    assert code == 2
    assert "unknown column 'lable'; did you mean 'label'?" in err
    assert err.count("\n") == 1

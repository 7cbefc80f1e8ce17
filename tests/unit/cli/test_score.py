import json
from pathlib import Path

import pytest

from brulee.evaluation import rouge


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    predictions, references = tmp_path / "p.txt", tmp_path / "r.jsonl"
    predictions.write_text("the cat sat on the mat\na dog barked at night\n")
    wanted = [["the cat sat on a mat", "a cat sat"], ["the dog slept all night"]]
    references.write_text("".join(json.dumps({"references": r}) + "\n" for r in wanted))
    return ["--predictions", str(predictions), "--references", str(references)]


def test_json_scores_are_the_librarys_own_in_the_order_asked(brulee, files: list[str]) -> None:
    done = brulee("score", *files, "--metrics", "rouge1, rougeL,bleu", "--json")
    scores = {s["metric"]: s for s in done.json["scores"]}
    assert list(scores) == ["rouge1", "rougeL", "bleu"]
    pairs = [
        ("the cat sat on the mat", ["the cat sat on a mat", "a cat sat"]),
        ("a dog barked at night", ["the dog slept all night"]),
    ]
    expected = sum(rouge.score(p, r)["rouge1"].f for p, r in pairs) / 2
    assert scores["rouge1"]["value"] == pytest.approx(expected)
    assert scores["rouge1"]["low"] <= expected <= scores["rouge1"]["high"]
    assert scores["rouge1"]["n"] == 2


def test_table_shows_the_interval_beside_the_score(brulee, files: list[str]) -> None:
    done = brulee("score", *files, "--metrics", "rouge1")
    assert done.code == 0
    assert "95% interval" in done.out
    assert " to " in done.out


def test_scores_of_sacrebleu_are_shown_with_its_signature(brulee, files: list[str]) -> None:
    asked = ("score", *files, "--metrics", "rouge1,bleu,ter")
    signed = brulee(*asked, "--json").json["signatures"]
    assert list(signed) == ["bleu", "ter"]
    assert signed["bleu"].startswith("nrefs:var|case:mixed|eff:no|tok:13a|")
    assert f"bleu: {signed['bleu']}" in brulee(*asked).out.splitlines()
    references = Path(files[-1])
    references.write_text('["a b", "c"]\n["d", "e f"]\n')
    assert brulee(*asked, "--json").json["signatures"]["bleu"].startswith("nrefs:2|")
    assert "signatures" not in brulee("score", *files, "--metrics", "rouge1", "--json").json


def test_texts_of_one_group_are_one_witness(brulee, tmp_path: Path) -> None:
    predictions, references, groups = (tmp_path / f"{n}.txt" for n in "prg")
    predictions.write_text("yes\n" * 9 + "no\n" * 3)
    references.write_text("yes\n" * 12)
    groups.write_text("".join(f"customer {i // 3}\n" for i in range(12)))
    asked = ["score", "--predictions", predictions, "--references", references]
    asked += ["--metrics", "exact_match"]
    plain = brulee(*asked, "--json").json
    grouped = brulee(*asked, "--groups", groups, "--json").json
    assert grouped["groups"] == 4
    assert "groups" not in plain
    widths = [found["scores"][0]["high"] - found["scores"][0]["low"] for found in (plain, grouped)]
    assert widths[1] > 1.3 * widths[0]
    assert "12 in 4 groups" in brulee(*asked, "--groups", groups).out
    groups.write_text("\n" * 12)  # nobody shares a group
    assert brulee(*asked, "--groups", groups, "--json").json["scores"] == plain["scores"]
    groups.write_text("a\n")
    refused = brulee(*asked, "--groups", groups)
    assert refused.code == 2
    assert "g.txt holds 1" in refused.err


def test_the_interval_of_one_text_is_said_to_be_unknown(brulee, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a b c\n")
    (tmp_path / "r.txt").write_text("a b d\n")
    asked = ["--predictions", tmp_path / "p.txt", "--references", tmp_path / "r.txt"]
    shown = brulee("score", *asked, "--metrics", "rouge1,exact_match").out
    assert "unknown of one item" in shown
    assert "0.0000 to 0.7935" in shown


def test_so_is_that_of_one_group(brulee, tmp_path: Path) -> None:
    for name, text in {"p": "a b c\na b\n", "r": "a b d\na c\n", "g": "one\none\n"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    asked = ["--predictions", tmp_path / "p.txt", "--references", tmp_path / "r.txt"]
    shown = brulee("score", *asked, "--metrics", "rouge1", "--groups", tmp_path / "g.txt").out
    assert "unknown" in shown


def test_files_of_different_length_are_refused(brulee, files: list[str], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("one\n")
    done = brulee("score", *files)
    assert done.code == 2
    assert "p.txt holds 1 texts and" in done.err
    assert "r.jsonl holds 2" in done.err


def test_no_metric_is_refused(brulee, files: list[str]) -> None:
    done = brulee("score", *files, "--metrics", " , ")
    assert done.code == 2
    assert "--metrics names none; for instance: --metrics rouge,bleu" in done.err


@pytest.mark.parametrize(
    ("prediction", "reference", "asked", "said"),
    [
        ("yes", "maybe", ["macro_f1", "--labels", "yes,no"], "unknown label 'maybe'"),
        ("1.5", "1", ["brier"], "needs a probability from 0 to 1, not '1.5'"),
        ("0.5", "2", ["ece"], "needs 0 or 1 as reference, not '2'"),
        ("0.5", "half", ["pearson"], "needs a number as reference, not 'half'"),
    ],
)
def test_what_a_metric_cannot_score_is_named_with_its_lines(
    brulee, tmp_path: Path, prediction: str, reference: str, asked: list[str], said: str
) -> None:
    fine = {"macro_f1": ("yes", "no")}.get(asked[0], ("0.5", "1"))
    (tmp_path / "p.txt").write_text(f"{fine[0]}\n{prediction}\n")
    (tmp_path / "r.txt").write_text(f"{fine[1]}\n{reference}\n")
    files = ["--predictions", tmp_path / "p.txt", "--references", tmp_path / "r.txt"]
    done = brulee("score", *files, "--metrics", *asked)
    assert done.code == 2
    assert f"p.txt, line 2, and {tmp_path / 'r.txt'}, line 2: " in done.err
    assert said in done.err


def test_unknown_metric_names_the_nearest(brulee, files: list[str]) -> None:
    done = brulee("score", *files, "--metrics", "rogue1")
    assert done.code == 2
    assert "did you mean 'rouge1'" in done.err


def test_a_summary_is_checked_against_its_source(brulee, files: list[str], tmp_path: Path) -> None:
    sources = tmp_path / "s.jsonl"
    sources.write_text('{"source": "A cat called Tom sat there."}\n"Two dogs barked."\n')
    asked = ["--metrics", "faithfulness,extractiveness", "--json"]
    done = brulee("score", *files, *asked)
    assert done.code == 2
    assert "needs --sources" in done.err
    done = brulee("score", *files, "--sources", str(sources), *asked)
    scores = {s["metric"]: s["value"] for s in done.json["scores"]}
    assert scores["invented"] == 0.0
    assert 0 < scores["coverage"] < 1


def test_rouge_options_stand_in_the_metrics_name(brulee, files: list[str]) -> None:
    names = ["rouge1:recall", "rougeW-1.2:1.5.5", "rougeSU4:paper", "chrf", "ter"]
    done = brulee("score", *files, "--metrics", ",".join(names), "--json")
    assert [s["metric"] for s in done.json["scores"]] == names


def test_labels_reach_the_metrics_that_need_them(brulee, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("yes\nno\n")
    both = ["--predictions", tmp_path / "p.txt", "--references", tmp_path / "p.txt"]
    assert brulee("score", *both, "--metrics", "macro_f1").code == 2
    done = brulee("score", *both, "--metrics", "macro_f1", "--labels", "yes,no", "--json")
    assert done.json["scores"][0]["value"] == 1.0


def test_scores_that_cannot_read_the_script_say_so(brulee, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("привет мир\n", encoding="utf-8")
    both = ["--predictions", tmp_path / "p.txt", "--references", tmp_path / "p.txt"]
    done = brulee("score", *both, "--metrics", "rouge1,bleu", "--json")
    assert done.json["scores"][0]["value"] == 0.0  # as rouge_score has it
    assert done.err.startswith("rouge1: only words of a-z and 0-9 are counted")
    done = brulee("score", *both, "--metrics", "rouge1:unicode", "--json")
    assert (done.json["scores"][0]["value"], done.err) == (1.0, "")


def test_missing_labels_name_the_option(brulee, files: list[str]) -> None:
    done = brulee("score", *files, "--metrics", "macro_f1")
    assert done.code == 2
    assert "metric macro_f1 needs --labels" in done.err


def test_many_texts_show_a_bar_unless_quiet(
    brulee, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brulee.progress._LINE_EVERY_SECONDS", 0.0)
    asked = ("score", *files, "--metrics", "rouge1")
    assert brulee(*asked).err == ""
    monkeypatch.setattr("brulee.evaluation.given_texts._WORTH_A_BAR", 2)
    assert "Scoring rouge1: 2/2 items" in brulee(*asked).err
    assert brulee(*asked, "--quiet").err == ""

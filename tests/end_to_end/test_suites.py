"""`brulee eval` on a model and on a run, and tasks of suites as guards of a run."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import brulee as front
from brulee import progress
from brulee.inference.engine import Engine
from brulee.reporting import results

FIXTURES = Path(__file__).parents[1] / "fixtures"
MMLU = ["--suite", "mmlu", "--data", FIXTURES / "mmlu", "--set", "subjects=astronomy,prehistory"]
RUN = Path("runs/recipe")
PART = "mmlu.subjects=astronomy+prehistory"  # where a run keeps what MMLU asks for


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRULEE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes every further question to a model an error."""

    def forbid() -> None:
        def asked(_: Any, requests: Any, *__: Any) -> list[Any]:
            assert not requests, "the model was asked"
            return []

        monkeypatch.setattr(Engine, "loglikelihood", asked)
        monkeypatch.setattr(Engine, "generate", asked)

    return forbid


def test_an_average_of_the_first_items_says_so(at: Any, brulee: Any) -> None:
    asked = ["eval", at.model, "--suite", "bbh", "--data", FIXTURES / "bbh", "--out", "scores"]
    asked += ["--set", "max_new_tokens=16"]
    for limit, partly in ((1, True), (500, False)):
        shown = brulee(*asked, "--limit", limit)
        assert shown.code == 0, shown.err
        labels = results.read(Path("scores")).suite.labels.values()
        assert [f"only {limit} items of a task" in label for label in labels] == [partly]


def test_instructions_are_scored_and_stand_beside_those_of_the_harness(
    at: Any, brulee: Any
) -> None:
    asked = ["eval", at.model, "--suite", "ifeval", "--data", FIXTURES / "ifeval"]
    asked += ["--set", "max_new_tokens=8"]
    shown = brulee(*asked, "--out", "scores")
    assert shown.code == 0, shown.err
    found = {score.metric: score for score in results.read(Path("scores")).scores}
    assert list(found)[:3] == ["prompt_strict", "prompt_loose", "instruction_strict"]
    assert (found["prompt_strict"].n, found["combination_loose"].n) == (14, 2)
    file = Path("scores/results_lm_eval.json")
    shaped = json.loads(file.read_text())
    ours = shaped["results"]["ifeval"]
    assert ours["prompt_level_strict_acc,none"] == found["prompt_strict"].value
    assert ours["inst_level_loose_acc,none"] == found["instruction_loose"].value
    assert shaped["config"]["apply_chat_template"] is True
    board = json.loads(brulee("leaderboard", "a=scores", f"b={file}", "--json").out)
    assert {(one["task"], one["metric"]) for one in board["scores"]} >= {
        ("ifeval [max_new_tokens=8]", "prompt_strict"),
        ("ifeval", "prompt_strict"),
    }
    plain = brulee(*asked, "--set", "prompt=plain", "--out", "plain")
    assert plain.code == 0, plain.err
    shaped = json.loads(Path("plain/results_lm_eval.json").read_text())
    assert shaped["config"]["apply_chat_template"] is False
    prompts = [
        json.loads(Path(f"{folder}/eval/base/ifeval.jsonl").read_text().splitlines()[0])
        for folder in ("scores", "plain")
    ]
    assert prompts[0]["prompt"] == prompts[1]["prompt"]
    assert prompts[0]["request"] != prompts[1]["request"]


def test_a_model_is_scored_and_the_second_time_is_free(
    at: Any, brulee: Any, no_engine: Any
) -> None:
    asked = ["eval", at.model, *MMLU, "--precision", "float32"]
    shown = brulee(*asked, "--out", "scores")
    assert shown.code == 0, shown.err
    assert "mmlu/astronomy" in shown.out
    assert "only 2 of 57 tasks" in " ".join(shown.out.split())
    found = results.read(Path("scores"))
    assert {(s.who, s.task, s.metric, s.n) for s in found.scores} >= {
        ("base", "mmlu/astronomy", "accuracy", 4),
        ("base", "mmlu", "accuracy_micro_partial", 7),
    }
    assert found.suite is not None
    assert found.suite.options["prompt"] == "original"
    shaped = json.loads(Path("scores/results_lm_eval.json").read_text())
    assert shaped["results"]["mmlu/astronomy"]["acc,none"] == found.scores[0].value
    assert shaped["n-shot"] == {"mmlu/astronomy": 5, "mmlu/prehistory": 5}
    assert shaped["groups"]["mmlu"]["accuracy_micro,none"] == pytest.approx(
        next(s.value for s in found.scores if s.metric == "accuracy_micro_partial")
    )
    items = Path("scores/eval/base/mmlu-prehistory.jsonl").read_text().splitlines()
    assert [json.loads(item)["references"] for item in items] == [["A"], ["C"], ["B"]]
    no_engine()
    again = brulee(*asked, "--json")
    assert again.code == 0, again.err
    assert again.json["scores"] == [s.model_dump() for s in found.scores]


def test_filters_and_directions_of_a_task_file_reach_what_is_written(
    at: Any, brulee: Any, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": "one", "a": "1"}\n{"q": "two", "a": "2"}\n')
    task = {
        "task": "digits",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
        "test_split": "test",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
        "generation_kwargs": {"max_new_tokens": 4},
        "metric_list": [{"metric": "exact_match", "higher_is_better": False}, {"metric": "ter"}],
        "filter_list": [
            {"name": name, "filter": [{"function": name}, {"function": "take_first"}]}
            for name in ("lowercase", "uppercase")
        ],
    }
    (tmp_path / "digits.yaml").write_text(json.dumps(task))
    done = brulee("eval", at.model, "--suite", tmp_path / "digits.yaml", "--out", "scores")
    assert done.code == 0, done.err
    written = json.loads(Path("scores/results_lm_eval.json").read_text())
    keys = [f"{m}{e},{f}" for m in ("exact_match", "ter") for e in ("", "_stderr")
            for f in ("lowercase", "uppercase")]  # fmt: skip
    assert written["results"]["digits"].keys() == {"alias", *keys}
    assert written["higher_is_better"]["digits"] == {"exact_match": False, "ter": False}
    suite = results.read(Path("scores")).suite
    assert suite is not None
    assert set(suite.lower_is_better or ()) == {
        f"digits {m},{f}" for m in ("exact_match", "ter") for f in ("lowercase", "uppercase")
    }


def test_a_finished_reply_is_not_that_of_a_model_that_ends_elsewhere(
    at: Any, brulee: Any, cache: Path, tmp_path: Path
) -> None:
    asked = ["--suite", "bbh", "--data", FIXTURES / "bbh", "--limit", 1]
    asked += ["--set", "max_new_tokens=4"]
    assert brulee("eval", at.model, *asked).code == 0
    other = tmp_path / "other"
    shutil.copytree(at.model, other)
    assert brulee("eval", other, *asked).code == 0
    assert len(list((cache / "evaluations").iterdir())) == 1
    file = other / "tokenizer_config.json"
    config = json.loads(file.read_text())
    vocabulary = json.loads((other / "tokenizer.json").read_text())["model"]["vocab"]
    config["eos_token"] = next(iter(vocabulary))
    file.write_text(json.dumps(config))
    assert brulee("eval", other, *asked).code == 0
    assert len(list((cache / "evaluations").iterdir())) == 2


def test_a_run_is_scored_as_tuned_and_keeps_the_result(at: Any, brulee: Any, once: Any) -> None:
    once(*at.run())
    before = brulee("eval", at.model, *MMLU, "--precision", "float32", "--json")
    after = brulee("eval", RUN, *MMLU, "--precision", "float32", "--limit", 2, "--json")
    assert after.code == 0, after.err
    assert {s["who"] for s in before.json["scores"]} == {"base"}
    assert {s["who"] for s in after.json["scores"]} == {"tuned"}
    assert after.json["method"]["name"] == "lora"
    assert after.json["base"]["digest"] == before.json["base"]["digest"]
    kept = results.read(RUN / "suites" / PART)
    assert kept.suite is not None
    assert kept.suite.limit == 2


def test_the_first_items_do_not_take_the_place_of_all(at: Any, brulee: Any, once: Any) -> None:
    once(*at.run())
    asked = ["eval", RUN, *MMLU, "--precision", "float32", "--quiet"]
    suites = RUN / "suites"

    def limits() -> dict[str, int | None]:
        found = {file.parent.name: results.read(file) for file in suites.glob("*/results.json")}
        return {name: one.suite.limit for name, one in found.items() if one.suite is not None}

    for limit in (1, 2):  # the fuller one takes the place of the other
        assert brulee(*asked, "--limit", limit).code == 0
        assert limits() == {PART: limit}
    assert brulee(*asked).code == 0
    assert limits() == {PART: None}
    whole = (suites / PART / "results.json").read_bytes()
    first = brulee(*asked, "--limit", 1)
    assert str(suites / f"{PART}.first-1" / "results.json") in first.out
    assert limits() == {PART: None, f"{PART}.first-1": 1}
    assert (suites / PART / "results.json").read_bytes() == whole
    (suites / PART / "results.json").write_text("{")  # damaged: nothing is lost by replacing it
    assert brulee(*asked, "--limit", 1).code == 0
    assert limits()[PART] == 1


def test_what_was_asked_otherwise_stands_beside_and_is_never_mixed(
    at: Any, brulee: Any, once: Any
) -> None:
    once(*at.run())
    asked = ["eval", RUN, "--suite", "mmlu", "--data", FIXTURES / "mmlu", "--quiet"]
    asked += ["--precision", "float32", "--set", "subjects=astronomy"]
    suites, plain = RUN / "suites", "mmlu.subjects=astronomy"
    assert brulee(*asked).code == 0
    before = (suites / plain / "results.json").read_bytes()
    for more in (["--set", "prompt=harness", "--set", "shots=1"], ["--chat"]):
        done = brulee(*asked, *more)
        assert done.code == 0, done.err
    harness, chat = f"mmlu.prompt=harness.{plain[5:]}.shots=1", f"{plain}.chat"
    assert sorted(folder.name for folder in suites.iterdir()) == sorted([plain, harness, chat])
    assert (suites / plain / "results.json").read_bytes() == before
    board = brulee("leaderboard", RUN, "--tasks", "--json").json["scores"]
    tasks = {s["task"] for s in board if s["task"].startswith("mmlu/astronomy")}
    assert tasks == {
        f"mmlu/astronomy{how}" for how in ("", " [prompt=harness, shots=1]", " [chat]")
    }
    shown = brulee("compare", suites / plain, suites / harness).out
    assert "[prompt=harness, shots=1]" in " ".join(shown.split())


def test_a_folder_of_another_result_is_refused_before_anything_is_asked(
    at: Any, brulee: Any, no_engine: Any
) -> None:
    asked = ["eval", at.model, *MMLU, "--limit", 1, "--out", "scores"]
    assert brulee(*asked, "--chat").code == 0
    before = Path("scores/results.json").read_bytes()
    no_engine()
    for more, now in (([], "its usual options"), (["--set", "shots=1"], "shots=1")):
        refused = brulee(*asked, *more)
        assert refused.code == 2
        assert refused.errors == [
            "error: --out scores: it holds mmlu with chat, which mmlu with "
            f"{now} would replace; name another folder."
        ]
    assert Path("scores/results.json").read_bytes() == before
    assert brulee(*asked, "--chat").code == 0


def test_the_results_of_a_run_are_not_replaced_by_a_suite(at: Any, brulee: Any, once: Any) -> None:
    once(*at.run())
    refused = brulee("eval", RUN, *MMLU, "--out", RUN)
    assert refused.code == 2
    assert refused.errors == [
        f"error: --out {RUN}: it holds the results of a run; name another folder."
    ]


def test_an_adapter_and_its_base_do_not_share_replies(
    at: Any, brulee: Any, once: Any, cache: Path
) -> None:
    once(*at.run())
    for target in (at.model, RUN / "adapter"):
        assert brulee("eval", target, *MMLU, "--precision", "float32").code == 0
    assert len(list((cache / "evaluations").iterdir())) == 2


def test_from_python(at: Any) -> None:
    found = front.evaluate(
        at.model,
        "superglue",
        FIXTURES / "superglue",
        options={"tasks": ["axg", "multirc"]},
        precision="float32",
    )
    assert set(found.scored["superglue/axg"].scores) == {"accuracy", "gender_parity"}
    assert found.scored["superglue/multirc"].scores["f1a"].interval.n == 3


def test_text_to_text_is_written_by_the_model(at: Any, brulee: Any) -> None:
    called = brulee(
        *["eval", at.model, "--suite", "glue", "--data", FIXTURES / "glue", "--json", "--chat"],
        *["--set", "prompt=text-to-text", "--set", "tasks=rte,stsb", "--precision", "float32"],
    )
    assert called.code == 0, called.err
    found = {(s["task"], s["metric"]): s["value"] for s in called.json["scores"]}
    assert found["glue/rte", "invalid"] == 1.0  # random weights write no label


def test_a_bundle_is_written_and_what_is_no_bundle_is_refused(at: Any, brulee: Any) -> None:
    glue = ["eval", at.model, "--suite", "glue", "--data", FIXTURES / "glue"]
    refused = brulee(*glue, "--set", "split=test", "--bundle", "bundle")
    assert refused.code == 2
    assert "CoLA.tsv: 2 predictions, but the leaderboard takes 1063" in refused.err
    rows = "".join(f"{i}\tIt rains.\tIt is wet.\n" for i in range(146))
    Path("WNLI").mkdir()
    Path("WNLI/test.tsv").write_text(f"index\tsentence1\tsentence2\n{rows}")
    whole = ["--data", ".", "--set", "tasks=wnli", "--set", "split=test", "--bundle", "bundle"]
    done = brulee("eval", at.model, "--suite", "glue", *whole)
    assert done.code == 0, done.err
    lines = Path("bundle/WNLI.tsv").read_text().splitlines()
    assert len(lines) == 147
    assert lines[0] == "index\tprediction"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--suite", "mmul"], "unknown suite 'mmul'; did you mean 'mmlu'?"),
        ([*MMLU, "--set", "prmpt=harness"], "unknown key 'prmpt'; did you mean 'prompt'?"),
        ([*MMLU, "--set", "shots=many"], "shots = 'many' is not valid"),
        ([*MMLU, "--set", "shots"], "write it as key=value"),
        (["--suite", "mmlu", "--data", "nowhere"], "nowhere: no such folder"),
        (
            ["--suite", "glue", "--data", FIXTURES / "glue", "--bundle", "bundle"],
            "CoLA.tsv: 4 predictions, but the leaderboard takes 1063",
        ),
        (
            ["--suite", "superglue", "--data", FIXTURES / "superglue", "--bundle", "bundle"],
            "predictions, but the leaderboard takes",
        ),
        (
            [*MMLU, "--bundle", "bundle"],
            "suite mmlu: it has no leaderboard bundle to write; glue and superglue have one",
        ),
        (
            ["--suite", "glue", "--data", "glue", "--bundle", "bundle", "--limit", 3],
            "a leaderboard takes all items",
        ),
        (["--suite", "glue", "--data", "."], "suite glue: none of its files are in ."),
    ],
)
def test_wrong_arguments_are_named_before_a_model_is_loaded(
    at: Any, brulee: Any, arguments: list[Any], words: str
) -> None:
    Path("no-model").mkdir()  # which is refused when it is loaded
    called = brulee("eval", "no-model", *arguments)
    assert called.code == 2
    assert words in called.err


def test_a_mistyped_target_is_named_before_the_suites_files(at: Any, brulee: Any) -> None:
    called = brulee("eval", "no-such-model", "--suite", "mmlu", "--data", "nowhere")
    assert (called.code, "'no-such-model': no such folder or file" in called.err) == (2, True)


def test_tasks_of_suites_are_guards(at: Any, brulee: Any, no_engine: Any) -> None:
    guarded = at.recipe["evaluate"] | {
        "guards": ["common-knowledge", "mmlu/prehistory", "glue/rte", "glue/sst2"],
        "guard_limit": 4,
        "data": {suite: str(FIXTURES / suite) for suite in ("mmlu", "glue", "superglue")},
    }
    called = brulee(*at.run(evaluate=guarded))
    assert called.code == 0, called.err
    found = results.read(RUN)
    assert [(f.task, f.metric) for f in found.forgetting] == [
        ("common-knowledge", "accuracy"),
        ("mmlu/prehistory", "accuracy"),
        ("glue/rte", "accuracy"),
        ("glue/sst2", "accuracy"),
        ("glue (2 tasks)", "mean"),
    ]
    rte, sst2, both = found.forgetting[2:]
    assert both.base == pytest.approx((rte.base + sst2.base) / 2)
    assert both.low <= both.difference <= both.high
    assert len(Path(RUN / "eval/tuned/mmlu-prehistory.jsonl").read_text().splitlines()) == 3
    # What was answered is not asked again when a run goes on.
    (RUN / "results.json").unlink()
    no_engine()
    assert brulee("resume", RUN).code == 0
    assert results.read(RUN).forgetting == found.forgetting


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        ("mmlu/prehistry", "unknown guard 'mmlu/prehistry'; did you mean 'mmlu/prehistory'"),
        ("plain-prosa", "unknown guard 'plain-prosa'; did you mean 'plain-prose'"),
    ],
)
def test_an_unknown_guard_is_named(at: Any, brulee: Any, guard: str, words: str) -> None:
    folder = {"mmlu": str(FIXTURES / "mmlu")}
    called = brulee(*at.run(evaluate=at.recipe["evaluate"] | {"guards": [guard], "data": folder}))
    assert called.code == 2
    assert words in called.err


# Two processes that do the same at once; what is imported takes longer, and is imported once. They
# end without clearing up what was imported, which would take longer too.
TWO = """
import os, sys
from brulee.cli.main import main
import brulee.evaluation.suites, brulee.inference.engine, brulee.pipeline.evaluation
sys.argv[0], both = "brulee", []
for number in range(2):
    process = os.fork()
    if process == 0:
        sys.stdout = open(f"said-{number}", "w")
        try:
            main()
        except SystemExit as left:
            sys.stdout.close()
            os._exit(left.code or 0)
    both.append(process)
sys.exit(any([os.waitpid(process, 0)[1] for process in both]))
"""


@pytest.mark.slow
def test_two_at_once_ask_the_model_once(
    at: Any, cache: Path, kernels: Path, environment: dict[str, str]
) -> None:
    cache.mkdir()
    (cache / "kernels").symlink_to(kernels)
    asked = ["eval", at.model, *MMLU, "--precision", "float32", "--json"]
    command = [sys.executable, "-c", TWO, *map(str, asked)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(Path(f"said-{n}").read_text())["scores"] for n in range(2))
    assert first == second
    lines = [n for file in cache.rglob("*.jsonl") for n in file.read_text().splitlines()]
    asked = [json.loads(line)["request"] for line in lines]
    assert len(asked) == len(set(asked)) == 4 + 3


def test_an_evaluation_waits_for_the_one_that_is_asking(
    at: Any, brulee: Any, once: Any, cache: Path, no_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["eval", at.model, *MMLU, "--precision", "float32"]
    once(*asked)
    (file,) = cache.rglob("mmlu-astronomy.jsonl")
    replies = file.read_bytes()
    file.write_bytes(replies[:-20])  # as another process is about to write it
    no_engine()

    asking, told = threading.Event(), threading.Event()
    note = progress.note

    def tell(text: str) -> None:
        note(text)
        told.set()

    monkeypatch.setattr(progress, "note", tell)

    def finish() -> None:
        with FileLock(file.with_name(f".{file.name}.lock")):
            asking.set()
            told.wait(60)
            file.write_bytes(replies)

    other = threading.Thread(target=finish)
    other.start()
    asking.wait()
    again = brulee(*asked)
    other.join()
    assert again.code == 0, again.err
    assert "mmlu/astronomy: another evaluation is asking this model" in again.err
    assert file.read_bytes() == replies


CHILD = """
import sys
from brulee.inference.engine import Engine
asked = 0
def counted(function):
    def call(self, requests, *more, **named):
        global asked
        asked += len(requests)
        return function(self, requests, *more, **named)
    return call
Engine.loglikelihood = counted(Engine.loglikelihood)
from brulee.pipeline.evaluation import evaluate
found = evaluate(sys.argv[1], "bundled", precision="float32")
print(asked)
for answers in found.answers.values():
    for a in answers:
        print(a.task, a.id, a.output, a.statistics)
"""


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_like_an_undisturbed_one(
    at: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(folder: str) -> subprocess.Popen[str]:
        monkeypatch.setenv("BRULEE_CACHE", folder)
        command = [sys.executable, "-c", CHILD, str(at.model)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def size() -> int:
        return sum(file.stat().st_size for file in cache.rglob("*.jsonl"))

    asked, *expected = start("undisturbed").communicate()[0].splitlines()
    assert int(asked) == 220 * 4 + 60 + 60
    whole = sum(file.stat().st_size for file in Path("undisturbed").rglob("*.jsonl"))
    draw = random.Random(0)
    for moment in sorted(draw.uniform(0, 0.9) * whole for _ in range(10)):
        child = start(str(cache))
        while child.poll() is None and size() <= moment:
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    resumed, *found = start(str(cache)).communicate()[0].splitlines()
    assert found == expected
    assert 0 < int(resumed) < 160 * 4 + 60 + 60
    again, *found = start(str(cache)).communicate()[0].splitlines()
    assert (int(again), found) == (0, expected)


def test_what_a_run_scored_on_a_suite_is_taken_apart_by_contamination(at: Any, brulee: Any) -> None:
    with (FIXTURES / "mmlu" / "test" / "astronomy_test.csv").open() as file:
        *question, answer = next(csv.reader(file))
    rows = [{"dialogue": f"order {i} came late again", "summary": "late"} for i in range(20)]
    at.rows(
        [
            *rows,
            {"dialogue": "\n".join(["Exam 5.", *question]), "summary": f"The answer is {answer}."},
        ]
    )
    guards = {"guards": ["mmlu/astronomy"], "data": {"mmlu": str(FIXTURES / "mmlu")}}
    asked = at.run(
        evaluate={"metrics": ["exact_match"], "generation": {"max_new_tokens": 2}} | guards,
    )
    done = brulee(*asked)
    assert done.code == 0, done.err
    look = ["data", "contamination", RUN / "recipe.yaml", *MMLU[:4], "--run", RUN]
    look += ["--suite-set", "subjects=astronomy,prehistory", "--json"]
    done = brulee(*look)
    assert done.code == 0, done.err
    guard = [s for s in done.json["scores"] if s["task"] == "mmlu/astronomy"]
    assert [(s["items"], s["base"]["n"], s["tuned"]["n"]) for s in guard] == [
        ("all", 4, 4), ("clean", 3, 3), ("dirty", 1, 1),
    ]  # fmt: skip
    assert brulee("eval", RUN, *MMLU, "--limit", 3).code == 0
    scores = brulee(*look).json["scores"]
    shown = {
        (s["task"], s["metric"], s["items"]): s["tuned"] and (s["tuned"]["value"], s["tuned"]["n"])
        for s in scores
    }
    folder = RUN / "suites" / PART
    said = {(s.task, s.metric): s for s in results.read(folder).scores}
    lines = (folder / "eval" / "tuned" / "mmlu-astronomy.jsonl").read_text().splitlines()
    right = [json.loads(line)["scores"]["accuracy"] for line in lines]
    at_it = f"mmlu/astronomy [{PART}]"
    assert shown[at_it, "accuracy", "all"] == (said["mmlu/astronomy", "accuracy"].value, 3)
    assert shown[at_it, "accuracy", "dirty"] == (right[0], 1)
    assert shown[at_it, "accuracy", "clean"] == (sum(right[1:]) / 2, 2)
    assert shown[f"mmlu/prehistory [{PART}]", "accuracy", "dirty"] is None
    assert shown[f"mmlu [{PART}]", "accuracy_micro", "clean"][1] == 5
    edited = json.loads(lines[1]) | {"prompt": "Another question?"}
    (folder / "eval" / "tuned" / "mmlu-astronomy.jsonl").write_text(json.dumps(edited) + "\n")
    refused = brulee(*look)
    assert refused.code == 2
    assert "was asked another question than these files have" in refused.err


def test_a_run_without_scores_of_a_suite_says_how_to_get_them(at: Any, brulee: Any) -> None:
    asked = at.run(evaluate={"metrics": ["exact_match"], "generation": {"max_new_tokens": 2}})
    assert brulee(*asked).code == 0
    look = ["data", "contamination", RUN / "recipe.yaml", *MMLU[:4], "--run", RUN]
    done = brulee(*look, "--suite-set", "subjects=astronomy", "--json")
    assert done.code == 0, done.err
    assert {s["task"] for s in done.json["scores"]} == {"rows/test"}
    assert f"brulee eval {RUN} --suite mmlu" in " ".join(done.err.split())

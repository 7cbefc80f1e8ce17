import io
import sys
import types
from pathlib import Path

import pytest

from brulee.cli.streams import open_streams


def test_prompt_gives_its_completion_alone(brulee, session) -> None:
    done = brulee("generate", "runs/x", "--prompt", "hello")
    assert (done.code, done.out) == (0, "<hello>\n")
    assert session.opened[0] == "runs/x"


def test_text_on_stdin_is_one_prompt(brulee, session) -> None:
    assert brulee("generate", "bundled", stdin="a\nb\n").out == "<a\nb>\n"


def test_file_gives_one_completion_per_line_in_order(brulee, session, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('"one"\n{"prompt": "two"}\n')
    done = brulee("generate", "bundled", "--file", tmp_path / "p.jsonl", "--json")
    assert done.json == [
        {"prompt": "one", "completion": "<one>"},
        {"prompt": "two", "completion": "<two>"},
    ]


def test_the_places_of_a_files_prompts_reach_the_session(brulee, session, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('"one"\n\n"two"\n')
    brulee("generate", "bundled", "--file", file)
    assert session.asked[0]["places"] == [f"{file}, line {n}: a prompt" for n in (1, 3)]


def test_options_reach_the_session(brulee, session) -> None:
    brulee(
        *["generate", "bundled", "--prompt", "x", "--max-new-tokens", 7, "--temperature", 0.5],
        *["--top-p", 0.9, "--seed", 3, "--raw", "--device", "cpu", "--top-k", 5, "--min-p", 0.1],
        *["--repetition-penalty", 1.2, "--beams", 1, "--length-penalty", 0.5],
        *["--languages", "deu_Latn,eng_Latn"],
    )
    expected = {"max_new_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": 3, "raw": True}
    expected |= {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2}
    expected |= {"beams": 1, "length_penalty": 0.5}
    assert session.asked == [{**expected, "places": [], "json_schema": None, "thoughts": False}]
    assert session.opened[1]["device"] == "cpu"
    assert session.opened[1]["languages"] == {"source": "deu_Latn", "target": "eng_Latn"}


def test_prompt_beside_file_is_refused(brulee, session) -> None:
    done = brulee("generate", "bundled", "--prompt", "x", "--file", "y.txt")
    assert (done.code, done.err) == (2, "error: give either --prompt or --file, not both.\n")


def test_nothing_on_stdin_is_refused(brulee, session) -> None:
    done = brulee("generate", "bundled")
    assert (done.code, done.err) == (2, "error: no prompt; the text on stdin is empty.\n")


def test_interrupt_while_reading_stdin_is_no_traceback(brulee, session, monkeypatch) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("brulee.cli.generate._prompts", interrupted)
    done = brulee("generate", "bundled")
    assert (done.code, done.err) == (2, "interrupted\n")


@pytest.mark.parametrize("how", [("utf-8",), ("ascii", "surrogateescape")])
@pytest.mark.parametrize("command", ["generate", "chat"])
def test_bytes_on_stdin_that_are_no_text_are_refused(
    session, monkeypatch, capsys: pytest.CaptureFixture[str], command: str, how: tuple[str, ...]
) -> None:
    from brulee.cli.main import build_app

    # The second is what Python makes of it where the locale is C, POSIX or C.UTF-8.
    stdin = io.TextIOWrapper(io.BytesIO(b"a\xff"), *how)
    monkeypatch.setattr(sys, "stdin", stdin)
    open_streams()
    with pytest.raises(SystemExit) as left:
        build_app()([command, "bundled"])
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: the text on stdin is not UTF-8.\n"


class FakeAdapters:
    """Answers with who was asked, and remembers what was loaded and how it was asked."""

    def __init__(self) -> None:
        self.loaded: dict[str, object] = {}
        self.asked: dict[str, object] = {}

    def load(self, targets, **how) -> "FakeAdapters":
        self.loaded = {"targets": targets, **how}
        return self

    def complete(self, prompts, adapters, **how) -> list[str]:
        self.asked = how
        return [f"{name}: {prompt}" for prompt, name in zip(prompts, adapters, strict=True)]

    def thoughts(self, name: str | None) -> tuple[None, list[int]]:
        return None, []


@pytest.fixture
def adapters(session, monkeypatch) -> FakeAdapters:
    fake = FakeAdapters()
    module = types.ModuleType("brulee.inference.adapters")
    module.open_adapters = fake.load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return fake


WITH_TWO = ["generate", "bundled", "--adapter", "a=runs/a", "--adapter", "b=runs/b"]


def test_a_prompt_is_put_to_the_base_and_to_every_adapter(brulee, adapters) -> None:
    done = brulee(*WITH_TWO, "--prompt", "hi", "--precision", "float32")
    assert done.out == "[the base]\nNone: hi\n\n---\n\n[a]\na: hi\n\n---\n\n[b]\nb: hi\n"
    assert adapters.loaded["targets"] == {"a": "runs/a", "b": "runs/b"}
    assert (adapters.loaded["base"], adapters.loaded["precision"]) == ("bundled", "float32")
    assert brulee(*WITH_TWO, "--json", stdin="x").json[2] == {
        "adapter": "b",
        "prompt": "x",
        "completion": "b: x",
    }


def test_lines_of_a_file_say_whom_they_ask(brulee, adapters, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    lines = ['{"prompt": "one", "adapter": "b"}', '"two"', '{"prompt": "three", "adapter": null}']
    file.write_text("\n".join(lines))
    done = brulee(*WITH_TWO, "--file", file, "--json")
    assert [answer["completion"] for answer in done.json] == ["b: one", "None: two", "None: three"]
    assert adapters.asked["places"] == [f"{file}, line {n}: a prompt" for n in (1, 2, 3)]


def test_an_adapter_that_is_asked_and_not_held_is_no_question_to_the_base(
    brulee, session, tmp_path: Path
) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text('{"prompt": "one", "adapter": null}\n{"prompt": "two", "adapter": "b"}')
    done = brulee("generate", "bundled", "--file", file)
    assert done.code == 2
    assert (
        f"{file}, line 2: names the adapter 'b', but no adapter is loaded; give --adapter b=RUN"
        in done.err
    )
    assert session.asked == []


def test_names_of_adapters_that_do_not_fit(brulee, adapters, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "one", "adapter": "c"}')
    done = brulee(*WITH_TWO, "--file", file)
    assert done.code == 2
    assert done.err.startswith(f"error: {file}, line 1: unknown adapter 'c';")
    for given in ("runs/a", "=runs/a", "a="):
        done = brulee("generate", "bundled", "--adapter", given, "--prompt", "x")
        assert (done.code, "write NAME=TARGET" in done.err) == (2, True)
    done = brulee(*WITH_TWO, "--adapter", "a=runs/c", "--prompt", "x")
    assert "'a' is 'runs/a' already" in done.err
    done = brulee(*WITH_TWO, "--base", "m", "--prompt", "x")
    assert "TARGET is the base" in done.err


def test_a_schema_reaches_the_session_and_what_is_cut_is_said(
    brulee, session, tmp_path: Path
) -> None:
    pytest.importorskip("llguidance")
    file = tmp_path / "schema.json"
    file.write_text('{"type": "object"}')
    done = brulee("generate", "bundled", "--prompt", "x", "--json-schema", file)
    assert session.asked[0]["json_schema"] == file
    assert done.code == 0
    assert "1 of 1 completions were cut off before their JSON was complete" in done.err
    brulee("generate", "bundled", "--prompt", "x", "--json-object")
    assert session.asked[1]["json_schema"] == {"type": "object"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "the schema cannot be read"),
        ("[1]", "a JSON schema is an object"),
        ('{"type": 1, "type": 2}', "the key 'type' is given twice"),
        ('{"a": ' * 120 + "1" + "}" * 120, "levels deep"),
    ],
)
def test_a_file_that_is_no_schema_is_refused_before_the_model_is_loaded(
    brulee, session, tmp_path: Path, text: str | None, said: str
) -> None:
    pytest.importorskip("llguidance")
    file = tmp_path / "schema.json"
    if text is not None:
        file.write_text(text)
    done = brulee("generate", "bundled", "--prompt", "x", "--json-schema", file)
    assert done.code == 2
    assert said in done.err
    assert str(file) in done.err
    assert not session.opened


def test_a_schema_without_the_package_names_the_command(
    brulee, session, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    done = brulee("generate", "bundled", "--prompt", "x", "--json-object")
    assert done.code == 2
    assert "pip install 'brulee[json]'" in done.err

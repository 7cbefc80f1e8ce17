import importlib.util
import socket
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--adapter", "notes"], "--adapter 'notes': write NAME=TARGET"),
        (["--allow-loading"], "--allow-loading needs --adapters-root DIR"),
        (["--adapters-root", "."], "--adapters-root needs --allow-loading"),
        (["--adapters-root", "nowhere", "--allow-loading"], "nowhere: no such folder"),
        (["--api-key-file", "nowhere"], "nowhere: cannot be read"),
        (["--api-key-file", "short"], "short: a key must be 8 or more"),
        (["--api-key-file", "spaced"], "spaced: a key must be 8 or more"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid --port 8000 cannot be"),
        (["--port", "70000"], "65535"),
    ],
)
def test_bad_arguments_are_told_before_anything_is_loaded(
    brulee, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short").write_text("secret\n")
    Path("spaced").write_text("two words here")
    done = brulee("serve", "no-such-model", *arguments)
    assert done.code == 2
    assert told in " ".join(done.err.split())
    assert "Traceback" not in done.err


def test_a_port_that_is_taken_is_told(brulee, tiny_model_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = brulee("serve", tiny_model_folder, "--port", port)
    assert done.code == 2
    assert f"--port {port} cannot be listened on" in done.err


def test_a_missing_extra_is_told(brulee, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name)
    )
    done = brulee("serve", "bundled")
    assert done.code == 2
    assert done.err == (
        "error: brulee serve needs uvicorn; install it: pip install 'brulee[serve]'.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--adapter", "notes=nowhere"], "nowhere: no such folder"),
        (["--adapter", "a b={model}"], "neither a run nor an adapter"),
        (["--base", "elsewhere"], "this is not an adapter, so it has no base to replace"),
    ],
)
def test_what_cannot_be_served_is_told(
    brulee, tiny_model_folder: Path, arguments: list[str], told: str
) -> None:
    own = [argument.format(model=tiny_model_folder) for argument in arguments]
    done = brulee("serve", tiny_model_folder, "--port", "0", *own)
    assert done.code == 2
    assert told in done.err

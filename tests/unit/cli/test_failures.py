import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from brulee.cli.failures import sentences
from brulee.errors import BruleeError, InputError, StoppedError

SRC = str(Path(__file__).parents[3] / "src")


def fail_with(error: BaseException) -> int:
    with pytest.raises(SystemExit) as left, sentences():
        raise error
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize(
    ("error", "code"), [(BruleeError("x"), 1), (InputError("x"), 2), (StoppedError("x"), 2)]
)
def test_error_leaves_with_its_own_code_in_one_line(
    error: BruleeError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(error) == code
    assert capsys.readouterr() == ("", "error: x\n")


def test_message_is_neither_markup_nor_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    message = "[bold]a[/bold] [0, 1] " + "very/long/path/" * 30
    fail_with(InputError(message))
    assert capsys.readouterr().err == f"error: {message}\n"


def test_the_password_of_a_url_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(InputError("https://me:s3cret@host/v1, http://hf_s3cret@host and a@b: not reached."))
    assert capsys.readouterr().err == (
        "error: https://me:***@host/v1, http://***@host and a@b: not reached.\n"
    )


def test_interrupt_says_so_and_leaves_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(KeyboardInterrupt()) == 2
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EFBIG]
)
def test_refusal_of_the_disk_names_the_path(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(OSError(number, os.strerror(number), "runs/a/events.jsonl")) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: runs/a/events.jsonl: ")
    assert os.strerror(number).lower() in message


def test_a_name_that_is_too_long_is_called_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OSError, match="too long") as raised:
        (tmp_path / ("a" * 300)).open()
    assert fail_with(raised.value) == 2
    assert capsys.readouterr().err.endswith("...: file name too long; use a shorter one.\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_full_disk_without_a_path_still_makes_a_sentence(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a write has none: the file was opened before."""
    assert fail_with(OSError(number, os.strerror(number))) == 2
    assert capsys.readouterr().err.startswith(f"error: {os.strerror(number).lower()}; ")


@pytest.mark.parametrize(
    "bug", [ValueError("x"), KeyError("x"), FileNotFoundError(errno.ENOENT, "x", "y")]
)
def test_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)) as raised, sentences():
        raise bug
    assert raised.value is bug


def test_reader_that_left_causes_no_complaint() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "brulee", "schema"],
        env={**os.environ, "PYTHONPATH": SRC},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), complaint) == (1, "")


def test_an_output_without_utf8_gets_escapes_instead_of_a_traceback(tmp_path: Path) -> None:
    rows = [f'{{"question": "größer als {i}?", "answer": "ja, {i + 1}"}}' for i in range(20)]
    (tmp_path / "chat.jsonl").write_text("\n".join(rows), encoding="utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "brulee", "init", "chat.jsonl", "--out", "r.yaml"],
        env={**os.environ, "PYTHONPATH": SRC, **locale},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert r"gr\xf6\xdfer als" in done.stdout + done.stderr


def test_closed_streams_are_empty_ones() -> None:
    code = "from brulee.cli.streams import open_streams; import sys; open_streams()"
    command = f"{sys.executable} -c '{code}; sys.stdin.read(); print(1)' <&- >&-"
    environment = {**os.environ, "PYTHONPATH": SRC}
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_bug_in_a_command_exits_1_with_a_plain_traceback(tmp_path: Path) -> None:
    (tmp_path / "bug.py").write_text(
        "import brulee.recipe\n"
        "def broken(): raise ZeroDivisionError('a bug')\n"
        "brulee.recipe.json_schema = broken\n"
        "from brulee.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "bug.py", "schema"],
        env={**os.environ, "PYTHONPATH": SRC},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ZeroDivisionError: a bug\n")

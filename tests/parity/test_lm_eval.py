"""Our model in lm-evaluation-harness answers what the harness's own backend answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from brulee.errors import InputError
from brulee.evaluation.lm_eval_model import BruleeLM, main

CONTEXTS = ["The guest could not check in ", "Summarise the conversation", "", "Which of these"]
TAILS = [" because", " the room was not ready", "in one sentence."]


@pytest.fixture(scope="module")
def models(tiny_model_folder: Path) -> tuple[Any, Any]:
    theirs = HFLM(pretrained=str(tiny_model_folder), device="cpu", dtype="float32", batch_size=3)
    return BruleeLM(str(tiny_model_folder), precision="float32"), theirs


def _asked(kind: Any, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, a, i) for i, a in enumerate(arguments)]


def test_likelihoods(models: tuple[Any, Any]) -> None:
    pairs = [(context, tail) for context in CONTEXTS for tail in TAILS]
    ours, theirs = (m.loglikelihood(_asked("loglikelihood", list(pairs))) for m in models)
    assert [g for _, g in ours] == [g for _, g in theirs]
    assert [p for p, _ in ours] == pytest.approx([p for p, _ in theirs], abs=1e-4)


def test_long_texts(models: tuple[Any, Any]) -> None:
    texts = [("The parcel was sent by express. " * n,) for n in (1, 30, 80)]
    ours, theirs = (
        m.loglikelihood_rolling(_asked("loglikelihood_rolling", list(texts))) for m in models
    )
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_writing(models: tuple[Any, Any]) -> None:
    how = {"until": ["e"], "max_gen_toks": 12, "do_sample": False}
    requests = [(context, how) for context in CONTEXTS if context]
    ours, theirs = (m.generate_until(_asked("generate_until", list(requests))) for m in models)
    assert ours == theirs


@pytest.mark.parametrize("template", ["texts", "parts", "no system"])
def test_chats_are_written_as_templates_take_them(
    tiny_model_folder: Path, tmp_path: Path, template: str
) -> None:
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    content = "m.content[0].text" if template == "parts" else "m.content"
    refusal = "{{ raise_exception('no system') }}" if template == "no system" else ""
    (folder / "chat_template.jinja").write_text(
        f"{{% for m in messages %}}{{% if m.role == 'system' %}}{refusal}{{% endif %}}"
        f"[{{{{ m.role }}}}] {{{{ {content} }}}};{{% endfor %}}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    model = BruleeLM(str(folder), precision="float32")
    chat = [{"role": "system", "content": "Short."}, {"role": "user", "content": "Why?"}]
    told = "[user] Short.\n\nWhy?;" if refusal else "[system] Short.;[user] Why?;"
    assert model.apply_chat_template(chat) == f"{told}[assistant]"
    chat.append({"role": "assistant", "content": "The answer is"})
    begun = model.apply_chat_template(chat, add_generation_prompt=False)
    assert begun == f"{told}[assistant] The answer is"
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="has no chat template; leave it out"):
        BruleeLM(str(folder), precision="float32").apply_chat_template(chat)


def test_an_unknown_setting_is_refused(models: tuple[Any, Any]) -> None:
    request = _asked("generate_until", [("a", {"until": ["e"], "typical_p": 0.9})])
    with pytest.raises(InputError, match="typical_p"):
        models[0].generate_until(request)


def test_a_target_that_is_none_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": "Which?", "a": "This."}\n', encoding="utf-8")
    task = {
        "task": "two_words", "dataset_path": "json", "test_split": "test",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "output_type": "loglikelihood", "doc_to_text": "{{q}}", "doc_to_target": "{{a}}",
    }  # fmt: skip
    (tmp_path / "two_words.yaml").write_text(json.dumps(task), encoding="utf-8")
    asked = ["run", "--model", "brulee", "--model_args", f"target={tmp_path}/nothing"]
    asked += ["--include_path", str(tmp_path), "--tasks", "two_words"]
    monkeypatch.setattr("sys.argv", ["lm_eval", *asked])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "nothing" in last

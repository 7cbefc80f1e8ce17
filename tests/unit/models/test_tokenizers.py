"""The tokenizer alone, from wherever a model may lie."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from brulee.data.encoding import Encoder
from brulee.data.template import Template
from brulee.errors import InputError
from brulee.models import tokenizers
from brulee.models.bundled import NAME
from brulee.models.tokenizers import load_encoder, load_tokenizer
from brulee.recipe import recipe_from_dict


@pytest.fixture
def bare(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A model's folder without its weights."""
    ignored = shutil.ignore_patterns("*.safetensors")
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "bare", ignore=ignored))


def test_a_folder_needs_no_weights(bare: Path) -> None:
    tokenizer, kind = load_tokenizer(str(bare))
    assert kind == "causal"
    assert tokenizer.chat_template


# Shows a text only as a part of a list, after the images.
WITH_IMAGES = (
    "{% for m in messages %}{{ m.role.upper() }}: "
    "{% for part in m.content | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}"
    "{% for part in m.content | selectattr('type', 'equalto', 'text') %}{{ part.text }}{% endfor %}"
    "{{ eos_token if m.role == 'assistant' else ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@pytest.mark.parametrize("text", ["[1]", "{", "\xff"])
def test_a_processors_file_that_is_no_object_is_named(bare: Path, text: str) -> None:
    (bare / "chat_template.jinja").unlink()
    (bare / "chat_template.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"chat_template\.json: not a JSON object"):
        load_tokenizer(str(bare))


@pytest.mark.parametrize("file", ["chat_template.json", "processor_config.json"])
def test_a_template_that_only_the_processor_has_is_the_models(bare: Path, file: str) -> None:
    (bare / "processor_config.json").write_text('{"processor_class": "LlavaProcessor"}')
    (bare / file).write_text(json.dumps({"chat_template": WITH_IMAGES}))
    own = load_tokenizer(str(bare))[0]
    assert own.chat_template != WITH_IMAGES, "a tokenizer's own template comes first"
    (bare / "chat_template.jinja").unlink()
    tokenizer = load_tokenizer(str(bare))[0]
    assert Encoder(tokenizer).prompt_text("Where is it?") == "USER: Where is it? ASSISTANT:"
    tokenizer.save_pretrained(bare / "again")
    assert (bare / "again" / "chat_template.jinja").read_text() == WITH_IMAGES


def test_an_encoder_decoder_is_known_by_its_config(tiny_t5_folder: Path) -> None:
    assert load_tokenizer(str(tiny_t5_folder))[1] == "seq2seq"


def test_the_bundled_models_weights_are_not_read_again(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRULEE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(bare, tmp_path / "cache" / "models" / NAME)
    monkeypatch.setattr(tokenizers, "bundled_folder", None)
    assert load_tokenizer("bundled")[1] == "causal"


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its tokenizer cannot be loaded"):
        load_tokenizer(str(tmp_path))


def test_a_name_that_is_nowhere_lists_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        InputError, match=r"model 'no/such/model': no such folder.*Valid: bundled, a folder"
    ):
        load_tokenizer("no/such/model")


def test_the_encoder_is_the_recipes(bare: Path) -> None:
    data = {"source": "rows.csv", "templates": "rte", "system": "Be brief."}
    values = {"model": str(bare), "data": data, "train": {"max_length": 99}}
    encoder = load_encoder(recipe_from_dict(values))
    assert encoder.max_length == 99
    assert "Be brief." in encoder.prompt_text("?")


def _sentencepiece(folder: Path, *files: str) -> list[str]:
    """Write a tokenizer to the files, each of texts of its own; returns a text of each."""
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    texts = []
    for number, file in enumerate(files):
        words = [w[::-1] if number else w for w in ["summer", "winter", "autumn", "spring", "rain"]]
        corpus = [" ".join(words[i % 5 :] + words[: i % 3]) for i in range(60)]
        with (folder / file).open("wb") as written:
            trainer.train(
                sentence_iterator=iter(corpus),
                model_writer=written,
                vocab_size=40,
                hard_vocab_limit=False,
                pad_id=0,
                eos_id=1,
                unk_id=2,
                bos_id=-1,
                minloglevel=2,
            )
        texts.append(corpus[0])
    return texts


def _config(folder: Path, kind: str, tokenizer: str) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer}))


def test_a_tokenizer_that_sentencepiece_wrote(tmp_path: Path) -> None:
    """As mT5, umT5 and older models have it."""
    (text,) = _sentencepiece(tmp_path, "spiece.model")
    _config(tmp_path, "t5", "T5Tokenizer")
    tokenizer, kind = load_tokenizer(str(tmp_path))
    processor = pytest.importorskip("sentencepiece").SentencePieceProcessor(
        model_file=str(tmp_path / "spiece.model")
    )
    assert (tokenizer(text)["input_ids"], kind) == ([*processor.encode(text), 1], "seq2seq")


def test_it_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spiece.model").write_bytes(b"not looked at")
    _config(tmp_path, "t5", "T5Tokenizer")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"spiece\.model: .* run: pip install 'brulee\[sentence"):
        load_tokenizer(str(tmp_path))


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_answers_are_read_by_the_model_of_their_language(tmp_path: Path) -> None:
    """Marian has two; ids are of the vocabulary that both share."""
    source, target = _sentencepiece(tmp_path, "source.spm", "target.spm")
    processors = [
        pytest.importorskip("sentencepiece").SentencePieceProcessor(model_file=str(tmp_path / file))
        for file in ("source.spm", "target.spm")
    ]
    pieces = [[p.id_to_piece(i) for i in range(p.get_piece_size())] for p in processors]
    vocabulary = {piece: at for at, piece in enumerate(dict.fromkeys([*pieces[0], *pieces[1]]))}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    _config(tmp_path, "marian", "MarianTokenizer")
    tokenizer, kind = load_tokenizer(str(tmp_path))
    encoder = Encoder(tokenizer, kind=kind, chat_template="none")
    template = Template("t", f"{source} ||| {target}")
    document = encoder.fit(template, {}, "")
    assert document is not None
    expected = [
        [vocabulary[piece] for piece in processor.encode_as_pieces(text)]
        for processor, text in zip(processors, (source, target), strict=True)
    ]
    assert processors[0].encode_as_pieces(target) != processors[1].encode_as_pieces(target)
    assert [list(document.prompt[:-1]), list(document.completion[:-1])] == expected
    assert tokenizer.decode(document.completion, skip_special_tokens=True) == target

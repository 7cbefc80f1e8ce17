"""Languages of translation models: prompts and first tokens are those of transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import brulee
from brulee.cli.pairs import languages_of
from brulee.errors import InputError
from brulee.inference.adapters import Adapters, open_adapters
from brulee.inference.sampling import Sampling
from brulee.inference.session import open_session
from brulee.methods.merging import merge
from brulee.models.decoder_start import decoder_start
from brulee.models.languages import read_languages
from brulee.models.loading import load_base
from brulee.models.tokenizers import load_encoder
from brulee.recipe import recipe_from_dict
from brulee.serving.opening import open_served

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CPU = torch.device("cpu")
TEXT = "the guest asked a parcel"
PIECES = ["\u2581the", "\u2581parcel", "\u2581a", "\u2581guest", *"theparclgusk", "\u2581"]
# The names of German and English, in the order of source and target.
NAMES = {
    "nllb": ("deu_Latn", "eng_Latn"),
    "mbart50": ("de_DE", "en_XX"),
    "mbart": ("de_DE", "en_XX"),
    "mbart without a start": ("de_DE", "en_XX"),
}
_SIZES: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "init_std": 0.3,
    "dropout": 0.0, "attention_dropout": 0.0, "max_position_embeddings": 128,
    "forced_eos_token_id": None,
}  # fmt: skip


def _tokenizer(kind: str) -> PreTrainedTokenizerBase:
    from transformers import MBart50Tokenizer, MBartTokenizer, NllbTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = list(dict.fromkeys([*special, *PIECES]))
    if kind == "nllb":
        vocabulary = {piece: i for i, piece in enumerate(pieces)}
        codes = ["eng_Latn", "deu_Latn", "fra_Latn"]
        return NllbTokenizer(vocab=vocabulary, merges=[], extra_special_tokens=codes)
    scored = [(piece, -float(i)) for i, piece in enumerate(pieces)]
    return (MBart50Tokenizer if kind == "mbart50" else MBartTokenizer)(vocab=scored)


def _model(kind: str, tokenizer: Any) -> PreTrainedModel:
    from transformers import (
        M2M100Config,
        M2M100ForConditionalGeneration,
        MBartConfig,
        MBartForConditionalGeneration,
    )

    torch.manual_seed(3)
    sizes = {**_SIZES, "vocab_size": len(tokenizer)}
    if kind == "nllb":
        return M2M100ForConditionalGeneration(M2M100Config(**sizes)).eval()
    code = tokenizer.convert_tokens_to_ids("ro_RO")
    start = {"mbart50": 2, "mbart": code, "mbart without a start": None}[kind]
    config = MBartConfig(**sizes, decoder_start_token_id=start)
    return MBartForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Callable[[str], Path]:
    """The folder of a translation model by kind, made once."""
    made: dict[str, Path] = {}

    def find(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("translators") / kind.split()[0]
            tokenizer = _tokenizer(kind)
            _model(kind, tokenizer).save_pretrained(made[kind])
            tokenizer.save_pretrained(made[kind])
        return made[kind]

    return find


def _between(kind: str) -> dict[str, str]:
    return dict(zip(("source", "target"), NAMES[kind], strict=True))


@pytest.mark.parametrize("kind", NAMES)
def test_translations_are_those_of_transformers(
    folders: Callable[[str], Path], kind: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    languages = _between(kind)
    base = load_base(str(folders(kind)), torch.float32, CPU, languages=languages)
    held = Adapters(base)
    prompt = held.encode_text(None, TEXT)
    tokenizer = AutoTokenizer.from_pretrained(folders(kind), src_lang=languages["source"])
    expected = tokenizer(TEXT)["input_ids"]
    assert prompt == expected
    assert tokenizer.convert_tokens_to_ids(languages["source"]) in prompt
    code = tokenizer.convert_tokens_to_ids(languages["target"])
    first = kind.startswith("mbart") and kind != "mbart50"
    key = "decoder_start_token_id" if first else "forced_bos_token_id"
    theirs = AutoModelForSeq2SeqLM.from_pretrained(folders(kind))
    found = theirs.generate(
        torch.tensor([prompt]), max_new_tokens=9 + (not first), do_sample=False, num_beams=1,
        **{key: code},
    )[0].tolist()  # fmt: skip
    start = 1 if first else 2
    assert tuple(found[:start]) == decoder_start(base.model)
    assert found[start - 1] == code
    ends = found.index(2, start) if 2 in found[start:] else len(found)
    written = held.engine.engines[None].generate([prompt], Sampling(9))[0]
    assert written == found[start:ends]
    # A model that is stored says itself what it translates.
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    again = load_base(str(tmp_path), torch.float32, CPU)
    assert decoder_start(again.model) == decoder_start(base.model)
    assert Adapters(again).encode_text(None, TEXT) == prompt


def _recipe(folder: Path, rows: Path, **more: Any) -> dict[str, Any]:
    return {
        "model": {"name": str(folder), "languages": _between("nllb"), **more.pop("model", {})},
        "data": {
            "source": str(rows),
            "templates": {"jinja": "{{de}} ||| {{en}}"},
            "split": {"test": 2},
        },
        "method": {"name": "lora", "rank": 2},
        "train": {"max_steps": 2, "batch_size": 2, "max_length": 64, "precision": "float32"},
        "evaluate": {"metrics": ["exact_match"], "generation": {"max_new_tokens": 4}},
        **more,
    }


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    texts = [TEXT, "a parcel", "the guest", "a guest asked", "the parcel asks", "a the", "tape"]
    lines = [json.dumps({"de": text, "en": text[::-1]}) for text in texts]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "rows.jsonl"


def test_languages_go_with_the_adapter(
    folders: Callable[[str], Path], rows: Path, tmp_path: Path
) -> None:
    run, folder = tmp_path / "run", folders("nllb")
    brulee.train(_recipe(folder, rows), folder=run)
    session = open_session(run)
    code = session.tokenizer.convert_tokens_to_ids("eng_Latn")
    assert session.base.languages == _between("nllb")
    assert decoder_start(session.base.model) == (2, code)
    assert session.encoder.encode_raw("a")[0] == session.tokenizer.convert_tokens_to_ids("deu_Latn")
    record = json.loads((run / "adapter" / "brulee.json").read_text(encoding="utf-8"))
    assert record["base"]["languages"] == _between("nllb")
    assert "languages: deu_Latn to eng_Latn" in (run / "adapter" / "README.md").read_text("utf-8")
    (answer,) = session.complete([TEXT], max_new_tokens=6)
    merge(run / "adapter", tmp_path / "merged")
    assert open_session(tmp_path / "merged").complete([TEXT], max_new_tokens=6) == [answer]
    other = _recipe(folder, rows, model={"languages": {"source": "fra_Latn", "target": "eng_Latn"}})
    brulee.train(other, folder=tmp_path / "other")
    with pytest.raises(
        InputError, match="'a' translates deu_Latn to eng_Latn, and adapter 'b' fra"
    ):
        open_adapters({"a": run, "b": tmp_path / "other"})
    held = open_adapters({"a": run})
    with pytest.raises(InputError, match="fra_Latn to eng_Latn, and the loaded base 'nllb' deu_La"):
        held.add("b", tmp_path / "other")
    assert held.complete([TEXT], ["a"], max_new_tokens=6) == [answer]


@pytest.mark.parametrize(
    ("model", "languages", "told"),
    [
        (
            "nllb",
            {"source": "deu_Latin", "target": "eng_Latn"},
            "model.languages.source: nllb: unknown language 'deu_Latin'; did you mean 'deu_Latn'",
        ),
        (
            "mbart",
            {"source": "de_DE", "target": "en"},
            "model.languages.target: mbart: unknown language 'en'; did you mean 'en_XX'",
        ),
        (
            "tiny-t5",
            {"source": "de", "target": "en"},
            "model.languages: the tokenizer of tiny-t5 has no languages to choose from; leave",
        ),
    ],
)
def test_a_language_that_a_model_lacks_is_one_sentence(
    folders: Callable[[str], Path],
    tiny_t5_folder: Path,
    rows: Path,
    model: str,
    languages: dict[str, str],
    told: str,
) -> None:
    folder = tiny_t5_folder if model == "tiny-t5" else folders(model)
    recipe = recipe_from_dict(_recipe(folder, rows, model={"languages": languages}))
    for load in (
        lambda: load_base(str(folder), torch.float32, CPU, languages=languages),
        lambda: load_encoder(recipe),
    ):
        with pytest.raises(InputError) as caught:
            load()
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)


def test_lengths_are_counted_with_the_source_language(
    folders: Callable[[str], Path], rows: Path
) -> None:
    encoder = load_encoder(recipe_from_dict(_recipe(folders("nllb"), rows)))
    code = encoder.tokenizer.convert_tokens_to_ids("deu_Latn")
    assert encoder.encode("a parcel", "the").ids[0] == code


def test_languages_are_given_to_what_does_not_say_them(
    folders: Callable[[str], Path], rows: Path, tmp_path: Path
) -> None:
    folder = folders("nllb")
    session = open_session(folder, languages=_between("nllb"))
    code = session.tokenizer.convert_tokens_to_ids("eng_Latn")
    assert decoder_start(session.base.model) == (2, code)
    assert open_served(str(folder), {}, languages=_between("nllb")).held.base.languages
    brulee.train(_recipe(folder, rows), folder=tmp_path / "run")
    assert open_session(tmp_path / "run", languages=_between("nllb")).base.languages
    other = {"source": "fra_Latn", "target": "eng_Latn"}
    for load in (
        lambda: open_session(tmp_path / "run", languages=other),
        lambda: open_served(str(tmp_path / "run"), {}, languages=other),
    ):
        with pytest.raises(InputError, match="to eng_Latn, and --languages fra_Latn to eng_Latn"):
            load()
    plain = tmp_path / "plain"
    brulee.train(_recipe(folder, rows, model={"languages": None}), folder=plain)
    read = {"source": "eng_Latn", "target": "fra_Latn"}  # that of the files, and one to write
    assert open_session(plain, languages=read).base.languages == read
    assert open_served(str(plain), {}, languages=read).held.base.languages == read
    held = open_adapters({"a": plain}, languages=read)
    held.add("b", plain)
    assert held.base.languages == read
    with pytest.raises(InputError, match="those of its files, and adapter 'b' deu_Latn to"):
        open_adapters({"a": plain, "b": tmp_path / "run"})
    # An adapter of another tool does not say between which languages it was trained.
    (plain / "adapter" / "brulee.json").unlink()
    both = {"a": plain / "adapter", "b": tmp_path / "run"}
    assert open_adapters(both).base.languages == _between("nllb")
    for text in ("deu_Latn", "a,b,c", ",eng_Latn"):
        with pytest.raises(InputError, match="write SOURCE,TARGET"):
            languages_of(text)
    assert languages_of("deu_Latn,eng_Latn") == _between("nllb")
    record = tmp_path / "run" / "adapter" / "brulee.json"
    told = json.loads(record.read_text(encoding="utf-8"))
    told["base"]["languages"] = {"source": "deu_Latn"}
    record.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(InputError, match=r"'base\.languages' must hold a source and a target"):
        open_session(tmp_path / "run")


@pytest.mark.parametrize(
    ("kind", "source", "target"), [("m2m100", "de", "en"), ("plbart", "java", "en_XX")]
)
def test_tokenizers_by_sentencepiece_take_their_own_names(
    kind: str, source: str, target: str, tmp_path: Path
) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    from transformers import M2M100Tokenizer, PLBartTokenizer

    (tmp_path / "text").write_text(f"{TEXT}\n" * 20, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(tmp_path / "spm"), vocab_size=30,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    model = str(tmp_path / "spm.model")
    if kind == "m2m100":
        pieces = sentencepiece.SentencePieceProcessor(model_file=model)
        names = ["<s>", "<pad>", "</s>", "<unk>"]
        names += [pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())]
        (tmp_path / "vocab.json").write_text(json.dumps({n: i for i, n in enumerate(names)}))
        tokenizer: Any = M2M100Tokenizer(str(tmp_path / "vocab.json"), model)
        codes = {name: tokenizer.get_lang_id(name) for name in (source, target)}
    else:
        tokenizer = PLBartTokenizer(
            model, language_codes="base", src_lang="python", tgt_lang="en_XX"
        )
        codes = {name: tokenizer.lang_code_to_id[f"__{name}__"] for name in (source, target)}
    read_languages(tokenizer, {"source": source, "target": target}, kind)
    assert codes[source] in tokenizer(TEXT)["input_ids"]
    assert codes[target] in tokenizer(text_target=TEXT)["input_ids"]
    with pytest.raises(InputError, match=f"model.languages.target: {kind}: unknown language 'xx'"):
        read_languages(tokenizer, {"source": source, "target": "xx"}, kind)

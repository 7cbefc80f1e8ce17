"""What brulee computes with every model type of transformers, beside transformers alone.

    .venv/bin/python benchmarks/every_model.py [--only llama,bart] [--jobs 2]

A tiny random model of each type (`tiny_models.py`) is stored, loaded by brulee, and compared with
transformers, which is given one document at a time, without padding and without a cache: the loss
of four documents together and one by one, the gradient of every parameter, the log-likelihoods of
the answers, and texts written greedily, together and one by one. Each type has a process of its own
with a time limit. Encoders, and the decoders of encoder-decoders, are tried a second time as
decoders (`:decoder`). Three types have towers of timm, which needs torchvision as well; without
both they are not built. Prints a table; writes every-model.json, with a row for each type:

    outcome   ok; refused, by brulee, in one sentence; not built: transformers made no such model;
              wrong: a number differs, or what is refused reads and writes text from left to right;
              traceback; too slow
    training  fast: on our own code; packed or padded: through transformers' layers
    writing   how a batch of prompts is continued (`inference/padding_trial.py`)

Exits 1 if a type is wrong, has a traceback or is too slow. With --only, prints the rows alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import tiny_models
import torch
import torch.nn.functional as F
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.inference.engine import Engine
from brulee.inference.sampling import Sampling
from brulee.models.decoder_start import decoder_start
from brulee.models.loading import Base, load_base
from brulee.pipeline.origin import machine
from brulee.training.passes import Passes

HERE: Final = Path(__file__).parent
SECONDS: Final = 300  # for one type
LENGTHS: Final = ((7, 3), (19, 6), (33, 9), (12, 4))  # of documents, and of their answers
NEW_TOKENS: Final = 9
CLOSE: Final = 1e-4  # relative: losses, likelihoods, and logits between which rounding decides
CLOSE_GRADIENT: Final = 1e-3  # relative, of the norm
FAILURES: Final = ("wrong", "traceback", "too slow")
Row = dict[str, Any]
Find = Callable[[str, Path], Row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="model types, with commas between them")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder to write to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in arguments.only.split(",") if name] or tiny_models.keys()
    rows = []
    for row in each(names, arguments.jobs, SECONDS):
        rows.append(row)
        print(line(row), flush=True)
    counts = Counter(row["outcome"] for row in rows)
    print("\n" + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    if not arguments.only:
        write(arguments.results / "every-model.json", rows)
    sys.exit(any(counts[outcome] for outcome in FAILURES))


def write(target: Path, rows: Sequence[Row]) -> None:
    """Store the rows with what made them."""
    packages = ("brulee", "torch", "transformers")
    ok = [row for row in rows if row["outcome"] == "ok"]
    result = {
        "what": "a tiny random model of every type of transformers that writes text, in fp32: "
        "losses, gradients, likelihoods and greedy texts beside transformers alone",
        "date": datetime.now(UTC).date().isoformat(),
        "command": "python benchmarks/every_model.py",
        "machine": machine(),
        "versions": {name: version(name) for name in packages},
        "outcomes": dict(Counter(row["outcome"] for row in rows).most_common()),
        "training": dict(Counter(row["training"] for row in ok).most_common()),
        "largest differences": {
            name: max(row[name] for row in ok) for name in ("loss", "gradient", "likelihood")
        },
        "models": rows,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n")


def line(row: Row) -> str:
    """A row of the table."""
    said = row.get("why") or f"{row['training']:7} {row['writing']}"
    return f"{row['model']:28} {row['outcome']:10} {said}"


def each(
    names: Sequence[str], jobs: int, seconds: float, find: Find | None = None
) -> Iterator[Row]:
    """The rows of the types, in their order; each is found in a process of its own."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda name: apart(name, seconds, find), names)


def apart(name: str, seconds: float, find: Find | None = None) -> Row:
    """The row of a type, found in a process that is ended after so many seconds."""
    # Forked: importing transformers takes longer than most types.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(find or row_of, name, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            return {"model": name, "outcome": "too slow", "why": f"more than {seconds:g} seconds"}
        row: Row = receiver.recv()
        return row
    except EOFError:
        process.join()
        why = f"its process ended with code {process.exitcode}"
        return {"model": name, "outcome": "traceback", "why": why}
    finally:
        process.kill()
        process.join()
        receiver.close()


def _send(find: Find, name: str, sender: Any) -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        sender.send(find(name, Path(folder)))


def row_of(name: str, folder: Path) -> Row:
    """Store a model of the type in `folder`, and compare what brulee computes with it."""
    row: Row = {"model": name}
    try:
        model = build(name, folder)
    except Exception as failure:  # whatever transformers raises is the answer
        return row | {"outcome": "not built", "why": short(failure)}
    row["class"] = type(model).__name__
    try:
        base = load_base(str(folder), torch.float32, torch.device("cpu"))
    except InputError as refusal:
        why = str(refusal).removeprefix(f"{folder}: ").replace(str(folder), "its folder")
        falsely = _reads_text(folder, model.config.is_encoder_decoder)
        return row | {"outcome": "wrong" if falsely else "refused", "why": why}
    except Exception as failure:
        return row | {"outcome": "traceback", "why": short(failure)}
    try:
        row |= compared(base, folder)
    except InputError as refusal:
        return row | {"outcome": "refused", "why": f"after it is loaded: {refusal}"}
    except Exception as failure:
        return row | {"outcome": "traceback", "why": short(failure)}
    if why := ", ".join(differing(row)):
        return row | {"outcome": "wrong", "why": why}
    return row | {"outcome": "ok"}


def build(name: str, folder: Path) -> PreTrainedModel:
    """Store a model of the type, with a tokenizer; raises whatever transformers raises."""
    model = tiny_models.model_of(name)
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return model


def compared(base: Base, folder: Path) -> Row:
    """How far brulee's numbers are from transformers', relative to these; see `differing`."""
    plain = Plain(type(base.model).from_pretrained(folder, dtype=torch.float32).eval())
    documents = some_documents()
    row: Row = {"reads ahead": plain.reads_ahead(documents[1].ids)}
    with torch.no_grad():
        expected = [float(plain.loss(document)) for document in documents]
    passes = Passes(base, most=8)
    row["training"] = "fast" if passes.fused else "packed" if passes.packs else "padded"
    with passes.boundary():
        found = [passes.total_loss([document])[0] for document in documents]
        row["loss"] = abs(passes.total_loss(documents)[0] / sum(expected) - 1)
    row["loss, one by one"] = _farthest(found, expected)
    row["gradient"] = _gradient_error(base, plain, documents)
    engine = Engine(base.model, [], base.pad_id)
    row["writing"] = _said(engine)
    likelihoods = [found.log_probability for found in engine.loglikelihood(documents)]
    row["likelihood"] = _farthest(likelihoods, [-loss for loss in expected])
    prompts = [document.prompt for document in documents] + [documents[2].ids[:19]]
    greedy, sampling = [plain.write(p) for p in prompts], Sampling(max_new_tokens=NEW_TOKENS)
    written = engine.generate(prompts, sampling)
    alone = [engine.generate([prompt], sampling)[0] for prompt in prompts]
    row["texts"], row["texts, one by one"] = (
        sum(_same(text, *wanted) for text, wanted in zip(texts, greedy, strict=True))
        for texts in (written, alone)
    )
    return row


def differing(row: Row) -> Iterator[str]:
    """What of a row is not as transformers has it."""
    for name in ("loss", "loss, one by one", "likelihood"):
        if not row[name] <= CLOSE:  # nor NaN
            yield f"{name} by {row[name]:.1g}"
    if not row["gradient"] <= CLOSE_GRADIENT:
        yield f"gradient by {row['gradient']:.1g}"
    for name in ("texts", "texts, one by one"):
        if wrong := len(LENGTHS) + 1 - row[name]:
            yield f"{wrong} {name}"
    if row["reads ahead"]:
        yield "taken, though it reads ahead"


class Plain:
    """A model that is given one document at a time, and all of it anew for each token."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.pair = bool(model.config.is_encoder_decoder)
        self.start = tuple(decoder_start(model)) if self.pair else ()

    def logits(self, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
        """Logits (1 + answer, V) from after the prompt on."""
        if self.pair:
            inputs = {"input_ids": prompt, "decoder_input_ids": [*self.start, *answer]}
        else:
            inputs = {"input_ids": [*prompt, *answer]}
        given = {name: torch.tensor([ids]) for name, ids in inputs.items()}
        logits_TV: torch.Tensor = self.model(**given, use_cache=False).logits[0].float()
        return logits_TV[-1 - len(answer) :]

    def loss(self, document: Encoded) -> torch.Tensor:
        """The summed loss of a document's answer."""
        answer = document.ids[-document.learned :]
        logits_TV = self.logits(document.prompt, answer[:-1])
        return F.cross_entropy(logits_TV, torch.tensor(answer), reduction="sum")

    @torch.no_grad()
    def write(self, prompt: Sequence[int]) -> tuple[list[int], list[float]]:
        """The greedy text, and how far each token was ahead of the next best."""
        text: list[int] = []
        ahead = []
        for _ in range(NEW_TOKENS):
            logits_V = self.logits(prompt, text)[-1]
            first, second = logits_V.topk(2).values
            ahead.append(float((first - second) / logits_V.abs().max()))
            text.append(int(logits_V.argmax()))
        return text, ahead

    @torch.no_grad()
    def reads_ahead(self, ids: Sequence[int]) -> bool:
        """Whether tokens that follow change the logits before them."""
        prompt, answer, half = ids[:4], ids[4:], len(ids) // 2
        found = self.logits(prompt, answer[:half])
        beside = self.logits(prompt, answer)[: half + 1]
        return bool((found - beside).abs().max() > CLOSE * found.abs().max())


def _reads_text(folder: Path, pair: bool) -> bool:
    """Whether transformers gives a text logits that do not depend on what follows."""
    ids = some_documents()[1].ids
    autos = [AutoModelForSeq2SeqLM, AutoModelForMultimodalLM]
    for auto in autos if pair else [*autos, AutoModelForCausalLM]:
        try:
            model, info = auto.from_pretrained(folder, output_loading_info=True)
            plain = Plain(model.eval())
            shaped = len(plain.logits(ids[:4], ids[4:])) == len(ids) - 3
            if shaped and not info["missing_keys"] and not plain.reads_ahead(ids):
                return True
        except Exception:  # not of this class, or it needs more than text
            continue
    return False


def _gradient_error(base: Base, plain: Plain, documents: list[Encoded]) -> float:
    for model in (base.model, plain.model):
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
    passes = Passes(base, most=8)
    with passes.boundary():
        passes.backward(documents)
    weight = sum(document.weight for document in documents)
    for document in documents:
        torch.autograd.backward(plain.loss(document) / weight)
    found, wanted = (
        {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        for model in (base.model, plain.model)
    )
    zero = torch.zeros(())
    far = sum(
        float((found.get(n, zero) - wanted.get(n, zero)).square().sum()) for n in {*found, *wanted}
    )
    for model in (base.model, plain.model):
        model.zero_grad(set_to_none=True)
    return float((far / sum(float(g.square().sum()) for g in wanted.values())) ** 0.5)


def _said(engine: Engine) -> str:
    if engine.reads_streams or engine.seq2seq:
        return "streams" if engine.reads_streams else "pairs"
    way = engine.way
    if not way.cached:
        return "without cache"
    return "padded" if way.pads else "equal lengths" if way.numbered else "counted by the model"


def _same(text: Sequence[int], wanted: Sequence[int], ahead: Sequence[float]) -> bool:
    """Whether the texts are equal up to a token that rounding decides."""
    for token, other, lead in zip(text, wanted, ahead, strict=False):
        if token != other:
            return lead < CLOSE
    return len(text) == len(wanted)


def _farthest(found: Sequence[float], wanted: Sequence[float]) -> float:
    return max(abs(one / other - 1) for one, other in zip(found, wanted, strict=True))


def some_documents() -> list[Encoded]:
    draw = torch.Generator().manual_seed(3)
    return [
        Encoded.ending(tuple(torch.randint(5, 280, (length,), generator=draw).tolist()), learned)
        for length, learned in LENGTHS
    ]


def _tokenizer() -> PreTrainedTokenizerFast:
    words = ["<pad>", "<s>", "</s>", "<unk>", *map(str, range(4, tiny_models.VOCABULARY))]
    core = Tokenizer(WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>",
    )  # fmt: skip


def short(failure: Exception) -> str:
    """An exception on one line, with the deepest of our own lines that it came through."""
    frames = traceback.extract_tb(failure.__traceback__)
    ours = [frame for frame in frames if "brulee" in Path(frame.filename).parts] or frames
    said = " ".join(str(failure).split())[:200]
    return f"{type(failure).__name__}: {said} ({Path(ours[-1].filename).name}:{ours[-1].lineno})"


if __name__ == "__main__":
    main()

"""Rendering and encoding against the bare tokenizer on the same texts.

    python benchmarks/encoding.py

Prints JSON and writes it to benchmarks/results/encoding.json. Ours: each row rendered by its
template, framed by the chat template, tokenised with its loss span (`Encoder.fit_many`). Bare: the
transformers tokenizer, called once with the list of all finished texts. Both use every core, their
runs alternate, and their token counts must be equal. The ratio compares the best run of each; the
ratio of CPU seconds over all threads does not depend on other load.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tokenizers
import transformers
from mixture import machine, spread

from brulee.data.encoding import Encoded, Encoder
from brulee.data.sources import open_source
from brulee.data.template import Template
from brulee.data.templates import load_templates
from brulee.models.tokenizers import load_tokenizer

ROUNDS = 3
LONG = ("bundled/support-chats", "dialogsum/condense", 1_000)
SHORT = ("bundled/product-reviews", "review-rating/out-of-five", 3_000)
T = TypeVar("T")
RESULT = Path(__file__).parent / "results" / "encoding.json"


def main() -> None:
    tokenizer, _ = load_tokenizer("bundled")
    result = {
        "what": "documents rendered and encoded per second, against the bare tokenizer",
        "long": compared(tokenizer, *LONG),
        "short": compared(tokenizer, *SHORT),
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        **machine(),
    }
    text = json.dumps(result, indent=2)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


def compared(tokenizer: Any, source: str, name: str, count: int) -> dict[str, object]:
    """Both rates on `count` documents, repeating the source's rows."""
    encoder = Encoder(tokenizer)
    template = load_templates(name).templates[0]
    rows = list(open_source(source))
    rows = [rows[i % len(rows)] for i in range(count)]
    texts = [finished(encoder, template, row) for row in rows]
    ours: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        taken, documents = timed(lambda: encoded(encoder, template, rows))
        ours.append(taken)
        taken, found = timed(lambda: tokenizer(texts)["input_ids"])
        bare.append(taken)
        tokens = sum(len(document.ids) for document in documents)
        assert tokens == sum(map(len, found)), "both have to write the same tokens"
    wall, cpu = (min(s[k] for s in bare) / min(s[k] for s in ours) for k in (0, 1))
    return {
        "source": source,
        "template": name,
        "documents": count,
        "tokens": tokens,
        "ours_documents_per_second": spread([count / s for s, _ in ours]),
        "bare_documents_per_second": spread([count / s for s, _ in bare]),
        "ours_of_bare": round(wall, 3),
        "ours_of_bare_by_cpu_seconds": round(cpu, 3),
    }


def finished(encoder: Encoder, template: Template, row: Mapping[str, Any]) -> str:
    rendered = template.render(row)
    assert rendered is not None
    end: str = encoder.tokenizer.decode(encoder.end_ids)
    return encoder.prompt_text(rendered.prompt) + rendered.completion + end


def encoded(encoder: Encoder, template: Template, rows: list[dict[str, Any]]) -> list[Encoded]:
    documents = encoder.fit_many((template, row, "") for row in rows)
    return [document for document in documents if isinstance(document, Encoded)]


def timed(work: Callable[[], T]) -> tuple[tuple[float, float], T]:
    """Wall-clock seconds and CPU seconds of all threads, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return (time.perf_counter() - wall, time.process_time() - cpu), found


if __name__ == "__main__":
    main()

"""The model card in the folder of an adapter or of a fully fine-tuned model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

from brulee.models import languages
from brulee.models.hub_names import hub_name
from brulee.models.saving import stops_missing
from brulee.reporting import phrasings, wording
from brulee.reporting.results import Results, Training

if TYPE_CHECKING:
    from brulee.pipeline.preparation import Prepared


def model_card(prepared: Prepared, training: Training, found: Results | None = None) -> str:
    """Markdown with a YAML header: the model, its training data, its scores."""
    recipe, tasks = prepared.recipe, prepared.corpus.tasks
    whole = prepared.method.stores_model
    public = hub_name(recipe.base.name, recipe.source.resolve)
    seq2seq = prepared.base.kind == "seq2seq"
    head = {
        **({"base_model": public} if public else {}),
        "library_name": "transformers" if whole else "peft",
        "pipeline_tag": "text2text-generation" if seq2seq else "text-generation",
        "tags": ["brulee"],
    }
    given = prepared.method.options().items()
    options = ", ".join(f"{k} {v}" for k, v in given if v not in (None, {}) and v is not False)
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False).strip(),
        "---",
        "",
        f"# {prepared.where.path.name}",
        "",
        f"{_what(prepared)}, trained on:",
        "",
        *(
            f"- {len(fitting.rows)} {'pieces of the texts' if tasks[path].plain else 'rows'} of "
            f"`{tasks[path].rows.name}`"
            + ("" if tasks[path].plain else f" with the templates `{tasks[path].templates.name}`")
            for path, fitting in prepared.fitting.items()
        ),
        "",
        f"- method: {prepared.method.name}" + (f" ({options})" if options else ""),
        f"- training: {wording.training(training)}",
        f"- base digest: `{prepared.base.digest}`{_found_at(recipe.base.name, public)}",
        *_started(prepared),
        *_stretched(prepared),
        *_ended(prepared),
        *_translating(prepared),
        *(
            f"- data digest: `{file}` `{digest}`"
            for task in tasks.values()
            for file, digest in task.rows.digests.items()
        ),
        f"- framing: {'chat template' if prepared.encoder.chat else 'plain text'}, "
        f"digest `{prepared.encoder.digest}`",
        "",
        "## Intended use",
        "",
        "The tasks it was trained on, in the same phrasing. Only the scores below were measured.",
        "",
        "## Scores",
        "",
        *(_scores(found) if found else ["Not measured yet."]),
        "",
        "## Recipe",
        "",
        "```yaml",
        recipe.to_yaml().strip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _found_at(source: str, public: str | None) -> str:
    if source == "bundled":
        return "; of the 4-bit copy that comes with brulee"
    return "" if public else "; it was a local model: use one with this digest"


def _what(prepared: Prepared) -> str:
    name, quantised = prepared.base.name, prepared.base.quantised
    if prepared.method.stores_model:
        return f"`{name}` with all parameters tuned"
    held = f" held in {quantised.upper()}" if quantised else ""
    label = prepared.method.label()
    article = "An" if label[0] in "aeiouAEIO" else "A"
    return f"{article} {label} adapter for `{name}`{held}"


def _started(prepared: Prepared) -> list[str]:
    if prepared.start is None:
        return []
    return [
        f"- trained further from: the adapter `{prepared.start.name}`, digest "
        f"`{prepared.start.digest}`"
    ]


def _translating(prepared: Prepared) -> list[str]:
    if prepared.base.languages is None:
        return []
    return [f"- languages: {languages.told_of(prepared.base.languages)}"]


def _stretched(prepared: Prepared) -> list[str]:
    scaling = prepared.base.rope_scaling
    if scaling is None:
        return []
    held = (
        ""
        if prepared.method.stores_model
        else ("; the base needs this in its configuration wherever the adapter is used")
    )
    return [f"- `rope_parameters` of the base: `{json.dumps(scaling)}`{held}"]


def _ended(prepared: Prepared) -> list[str]:
    base = prepared.base
    missing = stops_missing(base, prepared.encoder.stop_ids)
    if prepared.method.stores_model or not missing:
        return []
    names = ", ".join(f"`{base.tokenizer.convert_ids_to_tokens(i)}` ({i})" for i in missing)
    return [f"- its answers end with {names}; the base's generation does not stop there by itself"]


def _scores(found: Results) -> list[str]:
    pairs = (*found.comparisons, *found.forgetting)
    p = "p (Holm)" if any(pair.p_holm is not None for pair in pairs) else "p"
    before = f"`{found.base.start.adapter}`" if found.base.start else "base"
    table = [
        f"| task | metric | {before} | tuned | difference | 95% interval | {p} |",
        "|---|---|--:|--:|--:|---|--:|",
    ]
    for pair in pairs:
        task = f"{pair.task}{phrasings.over(found, pair.task)}"
        bounds = f"{pair.low:+.4f} to {pair.high:+.4f}"
        table.append(
            f"| {task} | {pair.metric} | {pair.base:.4f} | {pair.tuned:.4f} | "
            f"{pair.difference:+.4f} | {'unknown' if wording.is_unknown(pair) else bounds} | "
            f"{pair.corrected_p:.4f} |"
        )
    return [found.verdict, "", *table]

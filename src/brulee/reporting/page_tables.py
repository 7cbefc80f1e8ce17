"""The measured part of the report page: scores, differences, guards, cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from html import escape

from brulee.reporting import charts, wording
from brulee.reporting.results import (
    GUARD_MARGIN,
    Comparison,
    Forgetting,
    Lengths,
    Paired,
    Results,
    Score,
)

_GUARD_WORDS = {
    "kept": f"Kept: a loss of more than {GUARD_MARGIN} is ruled out",
    "forgot": "Partly forgotten: the whole interval is a loss, and p < 0.05",
    "improved": "Improved: the whole interval is a gain, and p < 0.05",
    "unclear": "No measurable change, but it could be as bad as {worst}",
}
_TEXTS = ("Outcome", "Notes")  # heads of columns that hold text
_DESK, _PHONE = 800, 350
Pairs = dict[tuple[str, str], list[Score]]


def number(text: str) -> str:
    """Escape a text and replace hyphens before numbers by minus signs."""
    return re.sub(r"(?<![\w.-])-(?=\d)", "−", escape(text))


def sentence(text: str) -> str:
    """Escaped text in which neither a p-value nor a number with its unit breaks over two lines."""
    glued = re.sub(r"\bp (&lt;|=) ", "p\u00a0\\1\u00a0", number(text))
    return re.sub(r"(\d|min|h) (?=min\b|s\b|h\b|\d+ (?:s|min)\b)", "\\1\u00a0", glued)


def both_widths(draw: Callable[[int], str]) -> str:
    """A chart drawn for wide and for narrow screens; the style sheet shows one of them."""
    desk = draw(_DESK).replace("<svg ", '<svg class="wide" ', 1)
    return desk + draw(_PHONE).replace("<svg ", '<svg class="narrow" ', 1)


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in a scrolling box; each row is the HTML of its header, then of its cells."""
    head = "".join(f'<th scope="col"{_left(text)}>{escape(text)}</th>' for text in heads)
    body = "".join(f'<tr><th scope="row">{first}</th>{_cells(rest)}</tr>' for first, *rest in rows)
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def scores(results: Results) -> str:
    """Both models' scores as a chart, then as a table with intervals."""
    pairs: Pairs = {}
    guards = {(guard.task, guard.metric) for guard in results.forgetting}
    for score in results.scores:
        if (score.task, score.metric) not in guards:
            pairs.setdefault((score.task, score.metric), []).append(score)
    if not pairs:
        return ""
    tasks = len({task for task, _ in pairs})
    most = {task: max(of[0].n for (t, _), of in pairs.items() if t == task) for task, _ in pairs}
    rows = [
        [
            _name(task, metric, tasks),
            _score("base", of),
            _score("tuned", of),
            # The count of groups covers all items, so it holds only for scores over all of them.
            wording.items(of[0].n, results.groups.get(task) if of[0].n == most[task] else None),
        ]
        for (task, metric), of in pairs.items()
    ]
    heads = ("Score", "Before", "After", "Items")
    shown = table("Scores with their 95% intervals", heads, rows)
    said = f"<p>{escape(wording.started(results))}</p>" if results.base.start else ""
    return (
        f"<section><h2>Scores before and after</h2>{said}"
        f"{_score_figures(pairs, tasks)}{shown}{_lengths(results.lengths)}</section>"
    )


def comparisons(results: Results) -> str:
    """Tuned minus base on the same items: difference, interval, p, counts, minimum detectable."""
    if not results.comparisons:
        return ""
    tasks = len({pair.task for pair in results.comparisons})
    corrected = any(pair.p_holm is not None for pair in results.comparisons)
    rows = [
        [
            _name(pair.task, pair.metric, tasks),
            _change(pair, pair.direction),
            number(wording.interval(pair)),
            number(wording.p_value(pair.p)),
            *([number(wording.p_value(pair.corrected_p))] if corrected else []),
            "–" if pair.descriptive else f"{pair.wins} / {pair.losses} / {pair.ties}",
            _detectable(pair),
        ]
        for pair in results.comparisons
    ]
    counts = ("Better / worse / same", "Detectable from")
    heads = ("Score", "Difference", "95% interval", "p", *["p (Holm)"][:corrected], *counts)
    number_of = "tasks" if tasks > 1 else "scores after the first"
    note = f" p (Holm) is corrected for the number of {number_of}." if corrected else ""
    if results.groups:
        note += " Items of a group are not independent, so groups are resampled as a whole."
    return (
        "<section><h2>Is the difference real?</h2>"
        "<p>Both models answered the same items, so the comparison is paired. With this many "
        "items, a true difference smaller than the detectable one would often be missed."
        f"{note}</p>{table('After minus before', heads, rows)}</section>"
    )


def forgetting(results: Results) -> str:
    """The guards in plain words, as a chart against zero, then as a table."""
    guards = results.forgetting
    if not guards:
        return (
            "<section><h2>What the model forgot</h2><p>No guard was measured, so this is not "
            "known. Name guards under <code>evaluate.guards</code>.</p></section>"
        )
    rows = [
        [
            _name(guard.task, guard.metric, 2),
            _guard_words(guard),
            _change(guard, {"improved": 1, "forgot": -1}.get(guard.kept, 0)),
            number(wording.interval(guard)),
            number(wording.p_value(guard.corrected_p)),
            f"{wording.fixed(guard.base)} → {wording.fixed(guard.tuned)}",
        ]
        for guard in guards
    ]
    p = "p (Holm)" if any(guard.p_holm is not None for guard in guards) else "p"
    heads = ("Guard", _TEXTS[0], "Difference", "95% interval", p, "Before → after")
    chart = both_widths(partial(charts.guard_chart, guards))
    less = {wording.metric_name(guard.metric) for guard in guards if not guard.higher_is_better}
    reading = f" For {' and '.join(sorted(less))}, lower is better." if less else ""
    return (
        "<section><h2>What the model forgot</h2>"
        "<p>Guards are tasks that tuning is not meant to change, measured before and after. "
        "A change counts if the whole interval is on one side of zero and p"
        f"{', corrected for the number of guards,' if p != 'p' else ''} is below 0.05."
        f"{escape(reading)}</p>"
        f"<figure>{chart}</figure>{table('Guards, after minus before', heads, rows)}</section>"
    )


def cost(results: Results) -> str:
    """The run's cost, one fact per line; parts the run did not have are left out."""
    spent = results.cost
    share = spent.trainable_share
    trained = f"{spent.trainable_parameters:,}"
    facts = [
        ("Trainable parameters", spent.trainable_parameters, trained),
        ("Share of the model", share or 0, wording.percent(share or 0)),
        ("Total parameters", spent.total_parameters, f"{spent.total_parameters:,}"),
        ("Adapter on disk", spent.adapter_bytes, wording.size(spent.adapter_bytes)),
        ("Peak memory", spent.peak_memory_bytes, wording.size(spent.peak_memory_bytes)),
        ("Training time", spent.train_seconds, wording.duration(spent.train_seconds)),
        ("Precision", len(spent.precision), spent.precision),
        ("Training tokens", spent.train_tokens, f"{spent.train_tokens:,}"),
        ("Tokens per second", spent.tokens_per_second, f"{spent.tokens_per_second:,.0f}"),
        ("Evaluation time", spent.evaluation_seconds, wording.duration(spent.evaluation_seconds)),
    ]
    facts += [(_words(key), 1, _plain(value)) for key, value in spent.extra.items()]
    listed = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>"
        for name, value, text in facts
        if value
    )
    if not listed:
        return ""
    return f'<section><h2>What it cost</h2><dl class="facts">{listed}</dl></section>'


def mixture(results: Results) -> str:
    """What training drew from each task of a mixture, and which tasks were held out."""
    if not results.mixture:
        return ""
    rows = [
        [
            escape(line.task),
            f"{line.rows:,}",
            f"{line.rate:.1%}",
            f"{line.draws:,}",
            f"{line.epochs:.2f}",
            f"{line.token_share:.1%}",
        ]
        for line in results.mixture
    ]
    heads = ("Task", "Rows", "Rate", "Draws", "Epochs", "Share of tokens")
    held_out = dict.fromkeys(pair.task for pair in results.comparisons if not pair.trained)
    listed = escape(", ".join(held_out))
    note = f"<p>Held out (scored, not trained on): {listed}.</p>" if held_out else ""
    shown = table("The mixture, task by task", heads, rows)
    return f"<section><h2>What it was trained on</h2>{note}{shown}</section>"


def _left(head: str) -> str:
    return ' class="words"' if head in _TEXTS else ""


def _cells(cells: Sequence[str]) -> str:
    return "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells)


def _name(task: str, metric: str, tasks: int) -> str:
    name = escape(wording.metric_name(metric))
    return name if tasks == 1 else f"{escape(task)}<small>{name}</small>"


def _score(who: str, scores: Sequence[Score]) -> str:
    found = next((score for score in scores if score.who == who), None)
    if found is None:
        return "not measured"
    interval = number(wording.score_interval(found))
    return f"{number(wording.fixed(found.value))}<small>{interval}</small>"


def _change(pair: Paired, direction: int) -> str:
    kind = {1: ' class="up"', 0: "", -1: ' class="down"'}[direction]
    return f"<td{kind}>{number(wording.difference(pair))}</td>"


def _detectable(pair: Comparison) -> str:
    value = pair.minimum_detectable
    if value is None:
        return f'<td class="note">{wording.undetectable(pair)}</td>'
    return number(wording.detectable(value))


def _guard_words(guard: Forgetting) -> str:
    if guard.kept == "unclear" and guard.low == guard.high:
        said = "Measured on one item or group only, which says little about others"
        return f'<td class="words">{said}</td>'
    worst = guard.low if guard.higher_is_better else guard.high
    shown = wording.signed(worst, wording.places_of(guard))
    return f'<td class="words">{number(_GUARD_WORDS[guard.kept].format(worst=shown))}</td>'


def _score_figures(pairs: Pairs, tasks: int) -> str:
    """One chart for all scores between 0 and 1, and a separate chart for each other score."""
    shares = {key: of for key, of in pairs.items() if max(score.high for score in of) <= 1}
    groups = [shares, *({key: of} for key, of in pairs.items() if key not in shares)]
    figures = ""
    for group in filter(None, groups):
        rows = [
            (f"{task if tasks > 1 else ''} {wording.metric_name(metric)}".strip(), of)
            for (task, metric), of in group.items()
        ]
        figures += both_widths(partial(charts.score_chart, rows))
    key = (
        '<span class="key"><i class="base"></i>before</span>'
        '<span class="key"><i></i>after</span>with 95% intervals'
    )
    return f"<figure><figcaption>{key}</figcaption>{figures}</figure>"


def _lengths(lengths: Sequence[Lengths]) -> str:
    if not lengths:
        return ""
    who = {"base": "before", "tuned": "after"}
    cut = any(length.unended for length in lengths)
    rows = [
        [
            f"{escape(length.task)}<small>{who[length.who]}</small>",
            f"{length.mean_words:.1f}",
            f"{length.ratio_to_reference:.2f} ×",
            *([f"{length.unended} of {length.answers}"] if cut else []),
        ]
        for length in lengths
    ]
    heads = ("Answers", "Words", "Of the reference", *(["Cut off in reasoning"] if cut else []))
    return table("Length of the answers, on which overlap scores depend", heads, rows)


def _words(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _plain(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)

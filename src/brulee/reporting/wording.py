"""Format numbers and names for people."""

from __future__ import annotations

from brulee.evaluation.stats import FEWEST, Interval
from brulee.reporting.results import Comparison, Method, Paired, Results, Score, Training

_METRICS = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "ter": "TER",
    "invented": "items with an invention",
    "novel_1grams": "novel words",
    "novel_2grams": "novel 2-grams",
    "novel_3grams": "novel 3-grams",
    "ece": "ECE",
    "ece_equal_width": "ECE (equal width)",
    "brier": "Brier score",
    "f1": "F1",
    "json_f1": "F1 of JSON fields",
    "json_precision": "precision of JSON fields",
    "json_recall": "recall of JSON fields",
    "json_match": "JSON equal to a reference",
    "json_valid": "answers that are JSON",
    "json_by_schema": "valid by the schema",
    "tool_calls": "right tool calls, or none",
    "call_made": "a call where one is due",
    "call_functions": "the right functions called",
    "call_arguments": "with the right arguments",
    "no_call": "no call where none is due",
    "macro_f1": "macro F1",
    "exact_match": "exact match",
    "ranked_accuracy": "accuracy of ranked choices",
    "ranked_accuracy_norm": "accuracy of ranked choices, by byte",
    "ranked_macro_f1": "macro F1 of ranked choices",
    "ranked_matthews": "matthews of ranked choices",
    "prompt_strict": "prompts followed, strict",
    "prompt_loose": "prompts followed, loose",
    "instruction_strict": "instructions followed, strict",
    "instruction_loose": "instructions followed, loose",
}
_MOST_PLACES = 6
# Methods whose label ("norms only") does not name them in a sentence.
_METHODS = {
    "full": "Full fine-tuning",
    "selective": "Selective tuning",
    "bottleneck": "Bottleneck adapters",
    "prompt": "Prompt tuning",
    "prefix": "Prefix tuning",
}


def metric_name(key: str) -> str:
    """The metric's name as papers print it."""
    kind, colon, options = key.partition(":")
    if kind.startswith("rouge"):
        name = f"ROUGE-{kind.removeprefix('rouge')}"
    else:
        name = _METRICS.get(kind, kind.replace("_", " "))
    return f"{name} ({options.replace(':', ', ')})" if colon else name


def method_name(method: Method) -> str:
    """The method as reports print it: "DoRA r8", "LoRA r16 (sum of 2)", "Prefix tuning"."""
    return _METHODS.get(method.name) or method.label or method.name


def tuning(results: Results) -> str:
    """The method as the subject of a sentence: "LoRA r8, trained further from runs/a,"."""
    name, start = method_name(results.method), results.base.start
    return name if start is None else f"{name}, trained further from {start.adapter},"


def started(results: Results) -> str:
    """A sentence on what the scores before are of, if that is not the base; else ""."""
    if results.base.start is None:
        return ""
    return f"Before is {results.base.before}, from which training started, not the base alone."


def training(went: Training) -> str:
    """How training went and which step's weights were kept, as a clause without a full stop."""
    early = f"stopped early after {went.steps:,} of {_count(went.planned_steps, 'step')}"
    parts = [early if went.stopped_early else f"all {_count(went.steps, 'step')} completed"]
    parts.append(f"the weights are from {_kept(went)}")
    if went.skipped_steps:
        parts.append(f"{_count(went.skipped_steps, 'non-finite step')} skipped")
    if went.loss_spikes:
        parts.append(f"{_count(went.loss_spikes, 'loss spike')}")
    if went.out_of_memory:
        parts.append("memory ran out, so passes were made smaller")
    return "; ".join(parts)


def places(*numbers: float) -> int:
    """Two decimals, or three if two would show a nonzero number as zero."""
    return 3 if any(number != 0 and abs(number) < 0.005 for number in numbers) else 2


def signed(number: float, decimals: int = 2) -> str:
    """The number with its sign; zero has none."""
    text = f"{number:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


def fixed(number: float, decimals: int = 2) -> str:
    """The number with fixed decimals, never as negative zero."""
    text = f"{number:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def difference(paired: Paired) -> str:
    """`+0.14`, as precise as the pair needs."""
    return signed(paired.difference, places_of(paired))


def verb(pair: Comparison, direction: int) -> str:
    """What tuning did to a score; `direction` is 1 for better, -1 for worse, 0 for neither."""
    if direction == 0:
        return "did not measurably change"
    word = "raised" if pair.difference > 0 else "lowered"
    if pair.higher_is_better:
        return word
    return f"{word} ({'better' if direction > 0 else 'worse'})"


def change(paired: Paired, direction: int, rest: str) -> str:
    """The two scores, their difference, and the `rest` of the evidence.

    "from 0.26 to 0.42 (+0.16, ...)", or "(0.26 before, 0.28 after: +0.02, ...)" if no change
    counts.
    """
    decimals = places(paired.difference)
    if float(fixed(paired.difference, decimals)) == 0:
        decimals = places_of(paired)
    base, tuned = fixed(paired.base, decimals), fixed(paired.tuned, decimals)
    evidence = f"{difference(paired)}, {rest}"
    if direction == 0:
        return f"({base} before, {tuned} after: {evidence})"
    return f"from {base} to {tuned} ({evidence})"


def interval(paired: Paired) -> str:
    """`+0.10 to +0.18`, or "unknown" of a change on a single item or group."""
    if is_unknown(paired):
        return "unknown"
    decimals = places_of(paired)
    return f"{signed(paired.low, decimals)} to {signed(paired.high, decimals)}"


def is_unknown(paired: Paired) -> bool:
    """Whether a change has an interval without width: a single item or group shows no variance."""
    return paired.low == paired.high and paired.difference != 0


def known_bounds(found: Interval | Score) -> tuple[float, float] | tuple[None, None]:
    """The bounds, or None and None for a single item or group, whose variance is unknown."""
    if found.low == found.high:
        return None, None
    return found.low, found.high


def exact_interval(found: Interval) -> str:
    """`0.3012 to 0.4100`, or words if it is unknown."""
    return _bounds(found, 4)


def items(count: int, groups: int | None) -> str:
    """`24`, or `24 in 12 groups` if some of the items are not independent."""
    if groups is None or groups >= count:
        return str(count)
    return f"{count} in {groups} group{'' if groups == 1 else 's'}"


def score_interval(score: Score) -> str:
    """`0.29 to 0.33`, or words if it is unknown."""
    return _bounds(score, 2)


def _bounds(found: Interval | Score, decimals: int) -> str:
    low, high = known_bounds(found)
    if low is None or high is None:
        return "unknown of one item" if found.n == 1 else "unknown"
    return f"{fixed(low, decimals)} to {fixed(high, decimals)}"


def p_value(p: float) -> str:
    """`< 0.001`, else three decimals when small and two when not."""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_phrase(p: float) -> str:
    """`p < 0.001` or `p = 0.03`."""
    shown = p_value(p)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def percent(share: float) -> str:
    """A share as a percentage with two significant digits: 1.8%, 0.034%, 100%."""
    value = share * 100
    if value >= 10 or value == 0:
        return f"{value:.0f}%"
    decimals = 1
    while value < 10 ** (1 - decimals) and decimals < 6:
        decimals += 1
    return f"{value:.{decimals}f}%"


def duration(seconds: float) -> str:
    """`8.2 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float) -> str:
    """Bytes in powers of 1000: `2.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return _three_digits(count, unit)
        count /= 1000
    return _three_digits(count, "TB")


def quantity(count: float) -> str:
    """A count with a short unit: `2.44 M`."""
    for unit in ("", "k", "M", "B"):
        if count < 999.5:
            return _three_digits(count, unit)
        count /= 1000
    return _three_digits(count, "T")


def undetectable(pair: Comparison, groups: int | None = None) -> str:
    """Why no minimum detectable difference is known for a comparison's items.

    `groups` is the number of independent groups of items, if fewer than items.
    """
    count = pair.wins + pair.losses + pair.ties
    if count >= FEWEST and count == pair.ties:
        return "items none of which changed"
    if pair.p < 2 / 2 ** (FEWEST - 1):  # fewer items cannot reach this p
        return "items that all changed alike"
    if groups is not None and groups < FEWEST <= count:
        return f"{items(count, groups)}, which are too few to show any difference"
    return "too few items to show any difference"


def places_of(paired: Paired) -> int:
    """Enough decimals to show on which side of zero a change and its interval lie."""
    numbers = paired.difference, paired.low, paired.high
    return places(*numbers) if paired.low * paired.high <= 0 else _unzeroed(*numbers)


def detectable(least: float) -> str:
    """A smallest detectable difference, with enough decimals not to be shown as zero."""
    return fixed(least, _unzeroed(least))


def _unzeroed(*numbers: float) -> int:
    """Enough decimals to show none of the numbers as zero, within reason."""
    decimals = places(*numbers)
    while decimals < _MOST_PLACES and any(float(f"{n:.{decimals}f}") == 0 for n in numbers):
        decimals += 1
    return decimals


def _three_digits(count: float, unit: str) -> str:
    whole = unit in {"", "B"} and float(count).is_integer()
    decimals = 0 if whole or count >= 99.95 else 1 if count >= 9.995 else 2
    return f"{count:.{decimals}f} {unit}".strip()


def _kept(went: Training) -> str:
    last = went.kept_step == went.steps
    kept = f"the last step, {went.kept_step}" if last else f"step {went.kept_step}"
    loss = went.best_validation_loss
    if went.best_step is None or loss is None:
        return kept
    whose = "which" if went.best_step == went.kept_step else f"though step {went.best_step}"
    return f"{kept}, {whose} had the lowest validation loss ({loss:.4f})"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"

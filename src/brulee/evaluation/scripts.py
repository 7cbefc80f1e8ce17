"""Whether metrics can tokenise the script of the references."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from brulee.evaluation.base import Metric
from brulee.evaluation.bleu import Bleu
from brulee.evaluation.rouge import Rouge

# Scripts without spaces between words, as prefixes of their letters' Unicode names.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
_ENOUGH = 20_000  # letters sampled


def unread(metrics: Sequence[Metric], references: Iterable[str]) -> str | None:
    """A warning about metrics that stay near 0 for any answer; None if there are none.

    ROUGE's default words consist of a-z and 0-9, BLEU's are separated by spaces. A metric is named
    if more than half of the references' letters belong to a script that it cannot tokenise.
    """
    letters = _letters(references)
    other = sum(not letter.isascii() and not _named(letter, "LATIN") for letter in letters)
    unspaced = sum(_named(letter, _UNSPACED) for letter in letters)
    found = []
    if other > len(letters) / 2 and (keys := _keys(m for m in metrics if _is_ascii(m))):
        found.append(
            f"{keys}: only words of a-z and 0-9 are counted, and the references have few of them; "
            "rouge:unicode counts words of every script (rouge:characters letters, for Thai)"
        )
    if unspaced > len(letters) / 2 and (keys := _keys(m for m in metrics if isinstance(m, Bleu))):
        found.append(
            f"{keys}: words are separated by spaces, and the references' script has none; chrf "
            "counts letters"
        )
    if not found:
        return None
    return "; ".join(found) + ". They stay near 0 for such texts, right or wrong."


def _letters(texts: Iterable[str]) -> list[str]:
    found: list[str] = []
    for text in texts:
        found += [letter for letter in text if letter.isalpha()]
        if len(found) > _ENOUGH:
            break
    return found


def _named(letter: str, start: str | tuple[str, ...]) -> bool:
    return unicodedata.name(letter, "").startswith(start)


def _is_ascii(metric: Metric) -> bool:
    return isinstance(metric, Rouge) and metric.scorer.options.tokenizer == "google"


def _keys(metrics: Iterable[Metric]) -> str:
    return ", ".join(key for metric in metrics for key in metric.keys)

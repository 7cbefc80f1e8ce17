"""The 25 kinds of instructions of IFEval: whether a response follows one.

A function each, which takes the response and what the row says (its kwargs), and a line each in
KINDS. Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models",
arXiv 2311.07911. Each decides as the code published with the paper does, its peculiarities
included, so that scores agree (tests/parity/test_ifeval.py). Where that code draws a missing or
unusable value at random, a row is refused (`rows.py`), except for a letter that is none:
see `letter_frequency`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from brulee.errors import nearest
from brulee.evaluation.suites.ifeval import language as languages
from brulee.evaluation.suites.ifeval import sentences as counted
from brulee.recipe.base import Count, Text

Relation = Literal["less than", "at least"]
Number = Annotated[int, Field(ge=0)]
Bare = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Letter = Annotated[str, Field(min_length=1, max_length=1)]


def _compiled(pattern: str) -> str:
    for one in (pattern, pattern.lower()):  # a postscript's marker is lowered
        try:
            re.compile(one)
        except re.error as error:
            said = f"it should be a regular expression ({error})"
            raise PydanticCustomError("expression", "{said}", {"said": said}) from None
    return pattern


def _known(code: str) -> str:
    valid = languages.codes()
    if code not in valid:
        close = nearest(code, valid) or valid
        said = f"it should be a language that langdetect knows, such as {', '.join(close)}"
        raise PydanticCustomError("language", "{said}", {"said": said})
    return code


# The published code uses a row's words as regular expressions, without escaping them.
Pattern = Annotated[Text, AfterValidator(_compiled)]
BarePattern = Annotated[Bare, AfterValidator(_compiled)]
Patterns = Annotated[list[Pattern], Field(min_length=1)]
Language = Annotated[str, AfterValidator(_known)]


@dataclass(frozen=True)
class Kind:
    """A kind of instruction.

    `follows` takes a response and the row's kwargs; `need` raises InputError if a package that it
    uses is missing.
    """

    follows: Callable[..., bool]
    need: Callable[[], None] | None = None


def existence(text: str, *, keywords: Patterns) -> bool:
    """Every keyword occurs, also within words, in any case."""
    return all(re.search(word, text, re.IGNORECASE) for word in keywords)


def frequency(text: str, *, keyword: BarePattern, frequency: Number, relation: Relation) -> bool:
    """The keyword occurs so often, also within words, in any case."""
    return _is(relation, len(re.findall(keyword, text, re.IGNORECASE)), frequency)


def forbidden_words(text: str, *, forbidden_words: Patterns) -> bool:
    """None of the words occurs as a whole word, in any case."""
    return not any(re.search(rf"\b{w}\b", text, re.IGNORECASE) for w in forbidden_words)


def letter_frequency(
    text: str, *, letter: Letter, let_frequency: Number, let_relation: Relation
) -> bool:
    """The letter occurs so often, in either case.

    Two of the published rows ask for a number of `#` and `!`. The published code then counts a
    letter from a to z drawn at random; here the sign itself is counted.
    """
    return _is(let_relation, text.lower().count(letter.lower()), let_frequency)


def response_language(text: str, *, language: Language) -> bool:
    """The response is in the language, or in none that can be told."""
    return languages.is_in(text, language)


def number_sentences(text: str, *, num_sentences: Number, relation: Relation) -> bool:
    """So many sentences, as Punkt finds them: a list without full stops is one sentence."""
    return _is(relation, len(counted.sentences(text)), num_sentences)


def number_paragraphs(text: str, *, num_paragraphs: Number) -> bool:
    """So many paragraphs between lines of `***`; only the first and the last part may be empty."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    return all(parts[1:-1]) and sum(map(bool, parts)) == num_paragraphs


def number_words(text: str, *, num_words: Number, relation: Relation) -> bool:
    """So many words; an apostrophe or a hyphen divides one into two, and so does a combining mark.

    Such marks (vowels of Hindi) became parts of words in NLTK 3.10.3, long after the paper.
    """
    return _is(relation, len(re.findall(r"\w+", text)), num_words)


def nth_paragraph_first_word(
    text: str, *, num_paragraphs: Number, nth_paragraph: Count, first_word: Text
) -> bool:
    r"""So many paragraphs between empty lines, of which the nth begins with the word.

    Empty parts do not count as paragraphs but do count up to the nth, and if that is empty the
    instruction is not followed. A paragraph's first word ends at a punctuation mark. An n above the
    number of paragraphs, instead of which the published code draws one, cannot be followed.
    """
    parts = [part.strip() for part in text.split("\n\n")]
    held = sum(map(bool, parts))
    if nth_paragraph > held or not parts[nth_paragraph - 1]:
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    first = "".join(c.lower() for c in takewhile(lambda c: c not in ".,?!'\"", word))
    return held == num_paragraphs and first == first_word.lower()


def number_placeholders(text: str, *, num_placeholders: Number) -> bool:
    """At least so many texts in square brackets, each within a line."""
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


def postscript(text: str, *, postscript_marker: BarePattern) -> bool:
    """The marker occurs anywhere, in any case; P.S. and P.P.S may have a space inside."""
    known = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    pattern = known.get(postscript_marker, postscript_marker.lower())
    return re.search(pattern, text.lower()) is not None


def number_bullet_lists(text: str, *, num_bullets: Number) -> bool:
    """Exactly so many lines that begin with `*` (and not `**`) or with `-`.

    Rules such as `---` count, and so does an empty `*` with the line after it.
    """
    stars = re.findall(r"^\s*\*[^*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


def constrained_response(text: str) -> bool:
    """One of three sentences occurs, letter for letter."""
    return any(f"My answer is {said}." in text for said in ("yes", "no", "maybe"))


def number_highlighted_sections(text: str, *, num_highlights: Number) -> bool:
    """At least so many texts between single or double asterisks, each within a line."""
    single = re.findall(r"\*([^\n*]*)\*", text)
    double = re.findall(r"\*\*([^\n*]*)\*\*", text)
    return sum(bool(inner.strip()) for inner in (*single, *double)) >= num_highlights


def multiple_sections(text: str, *, section_spliter: BarePattern, num_sections: Number) -> bool:
    """At least so many marks of a section: the word and a number."""
    return len(re.split(rf"\s?{section_spliter}\s?\d+\s?", text)) - 1 >= num_sections


def json_format(text: str) -> bool:
    """The response is JSON of any kind, a number too, perhaps in a Markdown fence."""
    inner = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        inner = inner.removeprefix(fence)
    try:
        json.loads(inner.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str) -> bool:
    """A line has `<<text>>`."""
    found = re.findall(r"<<[^\n]+>>", text)
    return any(one.lstrip("<").rstrip(">").strip() for one in found)


def two_responses(text: str) -> bool:
    """Two different texts around `******`; one more before or after them may be empty."""
    parts = [part.strip() for part in text.split("******")]
    texts = [part for part in parts if part]
    return all(parts[1:-1]) and len(texts) == 2 and texts[0] != texts[1]


def repeat_prompt(text: str, *, prompt_to_repeat: Text) -> bool:
    """The response begins with the request, in any case."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(text: str, *, end_phrase: Bare) -> bool:
    """The response ends with the phrase, in any case, perhaps before quotation marks."""
    return text.strip().strip('"').lower().endswith(end_phrase.lower())


def quotation(text: str) -> bool:
    """Double quotation marks around the whole response."""
    inside = text.strip()
    return len(inside) > 1 and inside[0] == inside[-1] == '"'


def capital_word_frequency(
    text: str, *, capital_frequency: Number, capital_relation: Relation
) -> bool:
    """So many words in capitals, as NLTK divides words: "I" is one, "CAN'T" is two."""
    capitals = sum(word.isupper() for word in counted.words(text))
    return _is(capital_relation, capitals, capital_frequency)


def english_capital(text: str) -> bool:
    """English, without a lower-case letter."""
    return text.isupper() and languages.is_in(text, "en")


def english_lowercase(text: str) -> bool:
    """English, without a capital."""
    return text.islower() and languages.is_in(text, "en")


def no_comma(text: str) -> bool:
    """Not a single comma, in numbers neither."""
    return "," not in text


KINDS: Final[Mapping[str, Kind]] = {
    "keywords:existence": Kind(existence),
    "keywords:frequency": Kind(frequency),
    "keywords:forbidden_words": Kind(forbidden_words),
    "keywords:letter_frequency": Kind(letter_frequency),
    "language:response_language": Kind(response_language, languages.need),
    "length_constraints:number_sentences": Kind(number_sentences, counted.need),
    "length_constraints:number_paragraphs": Kind(number_paragraphs),
    "length_constraints:number_words": Kind(number_words),
    "length_constraints:nth_paragraph_first_word": Kind(nth_paragraph_first_word),
    "detectable_content:number_placeholders": Kind(number_placeholders),
    "detectable_content:postscript": Kind(postscript),
    "detectable_format:number_bullet_lists": Kind(number_bullet_lists),
    "detectable_format:constrained_response": Kind(constrained_response),
    "detectable_format:number_highlighted_sections": Kind(number_highlighted_sections),
    "detectable_format:multiple_sections": Kind(multiple_sections),
    "detectable_format:json_format": Kind(json_format),
    "detectable_format:title": Kind(title),
    "combination:two_responses": Kind(two_responses),
    "combination:repeat_prompt": Kind(repeat_prompt),
    "startend:end_checker": Kind(end_checker),
    "startend:quotation": Kind(quotation),
    "change_case:capital_word_frequency": Kind(capital_word_frequency, counted.need),
    "change_case:english_capital": Kind(english_capital, languages.need),
    "change_case:english_lowercase": Kind(english_lowercase, languages.need),
    "punctuation:no_comma": Kind(no_comma),
}


@dataclass(frozen=True)
class Instruction:
    """An instruction of a prompt: its kind, by name, and what the row says of it."""

    kind: str
    kwargs: Mapping[str, Any]

    @property
    def group(self) -> str:
        """The group of its kind, such as "keywords"."""
        return self.kind.partition(":")[0]

    def follows(self, text: str) -> bool:
        """Whether a response follows it; an empty one follows none."""
        return bool(text.strip()) and KINDS[self.kind].follows(text, **self.kwargs)


def strictly(instructions: Sequence[Instruction], text: str) -> list[bool]:
    """Whether a response follows each instruction."""
    return [instruction.follows(text) for instruction in instructions]


def loosely(instructions: Sequence[Instruction], text: str) -> list[bool]:
    """Whether the response or one of seven variants of it follows each instruction.

    A first line may be an introduction ("Sure, here it is:"), a last one a closing remark, and
    asterisks may be Markdown: the variants lack the first line, the last, or both, and each of
    these, and the whole, lacks its asterisks. Different variants may follow different instructions.
    """
    lines = text.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    whole = [text, *cut]
    variants = dict.fromkeys([*whole, *(one.replace("*", "") for one in whole)])
    return [any(one.follows(variant) for variant in variants) for one in instructions]


def _is(relation: Relation, count: int, threshold: int) -> bool:
    return count < threshold if relation == "less than" else count >= threshold

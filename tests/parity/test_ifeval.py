"""Every instruction of IFEval is judged as by lm-evaluation-harness, strictly and loosely.

Its code is the paper's, with kwargs of null left out.
"""

from __future__ import annotations

import random
import unicodedata
from typing import Any

import pytest

from brulee.evaluation.suites.ifeval.instructions import KINDS, loosely, strictly
from brulee.evaluation.suites.ifeval.rows import instruction
from brulee.recipe.source import Source

langdetect = pytest.importorskip("langdetect")
pytest.importorskip("punkt")
utils = pytest.importorskip("lm_eval.tasks.ifeval.utils")

RELATIONS = ("less than", "at least")
KWARGS: dict[str, list[dict[str, Any]]] = {
    "keywords:existence": [
        {"keywords": ["ferry"]}, {"keywords": ["Tide", "ferr."]}, {"keywords": ["a", "CAN"]},
    ],
    "keywords:frequency": [
        {"keyword": word, "frequency": n, "relation": relation}
        for word in ("ferry", " tide ", "th.", "A")
        for n in (1, 3)
        for relation in RELATIONS
    ],
    "keywords:forbidden_words": [
        {"forbidden_words": ["ferry"]}, {"forbidden_words": ["TIDE", "U.S.", "o"]},
    ],
    "keywords:letter_frequency": [
        {"letter": letter, "let_frequency": n, "let_relation": relation}
        for letter in "eQz"
        for n in (1, 6)
        for relation in RELATIONS
    ],
    "language:response_language": [{"language": code} for code in ("en", "de", "fi", "hi", "ko")],
    "length_constraints:number_sentences": [
        {"num_sentences": n, "relation": relation} for n in (1, 2, 4, 7) for relation in RELATIONS
    ],
    "length_constraints:number_paragraphs": [{"num_paragraphs": n} for n in (1, 2, 3)],
    "length_constraints:number_words": [
        {"num_words": n, "relation": relation} for n in (1, 8, 20) for relation in RELATIONS
    ],
    "length_constraints:nth_paragraph_first_word": [
        {"num_paragraphs": n, "nth_paragraph": nth, "first_word": word}
        for n in (1, 2, 3)
        for nth in range(1, n + 1)
        for word in ("ferry", "The", "can")
    ],
    "detectable_content:number_placeholders": [{"num_placeholders": n} for n in (1, 2, 3)],
    "detectable_content:postscript": [
        {"postscript_marker": marker} for marker in ("P.S.", "P.P.S", " Note", "p.s")
    ],
    "detectable_format:number_bullet_lists": [{"num_bullets": n} for n in (1, 2, 3)],
    "detectable_format:number_highlighted_sections": [{"num_highlights": n} for n in (1, 2, 3)],
    "detectable_format:multiple_sections": [
        {"section_spliter": word, "num_sections": n}
        for word in ("Section", "SECTION ", "(Day|Tag)")
        for n in (1, 2)
    ],
    "combination:repeat_prompt": [
        {"prompt_to_repeat": said} for said in ("The ferry", " the FERRY\n", "*")
    ],
    "startend:end_checker": [{"end_phrase": said} for said in ("tide.", ' The Ferry"', "!")],
    "change_case:capital_word_frequency": [
        {"capital_frequency": n, "capital_relation": relation}
        for n in (1, 2, 4)
        for relation in RELATIONS
    ],
}  # fmt: skip
PIECES = (
    "The ferry", "the ferry leaves at noon", "ferry", "Tide", "tide.", "CAN'T", "can",
    "WAIT", "I", "U.S.", "Dr. Ode", "p.m. on", "3.5", "e.g. a", "No. 5", "well-known",
    "QUAY", "zebra", "Ode?", "Stop!", "So it is.", "It rains...", "My answer is no.",
    "My answer is Maybe.", "my answer is", "[port]", "[", "]", "[a\nb]", "<<Crossing>>",
    "<< >>", "<<", ">>", "P.S.", "P. S. bye", "p.p.s", "P.P.S", "Note", "*", "**", "***",
    "****", "******", "* one", "- two", "-", "*loud*", "**very**", "* *", '"', "'", "``",
    "```", "```json", "{}", '{"a": [1, 2]}', "[1]", "42", "null", "Section 1", "SECTION 2",
    "Section", "Day 3", "Tag4", ",", ";", ":", ")", "(", "“so”", "naïve", "ΟΔΟΣ", "İ",
    "Die Fähre fährt heute nicht mehr.", "Lautta lähtee satamasta illalla.",
    "नाव शाम को जाती है।", "배는 저녁에 떠난다.", "1 2 3", "https://ode.example/a",
    "The boat is late because of the wind.", "THE BOAT IS LATE BECAUSE OF THE WIND.",
    "the boat is late because of the wind.",
)  # fmt: skip
GAPS = ("", " ", " ", " ", "\n", "\n", "\n\n", "\n\n\n", "\t", " \n", "\r\n", "\u00a0", "\u2028")
SLOW = {
    "language:response_language": 40, "change_case:english_capital": 60,
    "change_case:english_lowercase": 60, "change_case:capital_word_frequency": 100,
}  # fmt: skip


def texts(count: int, seed: int) -> list[str]:
    """Responses of many shapes: pieces with gaps between them, some in one case, some quoted."""
    draw = random.Random(seed)
    found = ["", " ", "\n", "*", "***", "\n\n\n", '"', '""', "a", "<<a>>", "```json\n{}\n```"]
    while len(found) < count:
        parts = draw.choices(PIECES, k=draw.choice((1, 2, 3, 6, 12)))
        text = "".join(part + draw.choice(GAPS) for part in parts)
        text = draw.choice((str, str, str, str.upper, str.lower, str.strip))(text)
        found.append(draw.choice(("{}", "{}", '"{}"', "Sure:\n{}", "{}\nBye.")).replace("{}", text))
    return found


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness leaves langdetect unseeded, so its own judgement may change."""
    monkeypatch.setattr(langdetect.DetectorFactory, "seed", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_instruction(kind: str) -> None:
    for number, kwargs in enumerate(KWARGS.get(kind, [{}])):
        for text in texts(SLOW.get(kind, 400), number):
            # The harness counts words as the installed NLTK does, from 3.10.3 on with these marks.
            if kind == "length_constraints:number_words":
                text = "".join(c for c in text if not unicodedata.category(c).startswith("M"))
            same_judgement([(kind, kwargs)], text)


def test_several_instructions_each_by_any_variant() -> None:
    draw = random.Random(5)
    kinds = [kind for kind in KINDS if kind not in {*SLOW, "length_constraints:number_words"}]
    for text in texts(300, 99):
        chosen = draw.sample(kinds, draw.randint(2, 4))
        same_judgement([(kind, draw.choice(KWARGS.get(kind, [{}]))) for kind in chosen], text)


def same_judgement(asked: list[tuple[str, dict[str, Any]]], text: str) -> None:
    kinds, kwargs = zip(*asked, strict=True)
    item = utils.InputExample(1, list(kinds), "", list(kwargs))
    strict = utils.test_instruction_following_strict(item, text).follow_instruction_list
    loose = utils.test_instruction_following_loose(item, text).follow_instruction_list
    ours = [instruction(kind, given, Source("row", {}, None)) for kind, given in asked]
    assert (strictly(ours, text), loosely(ours, text)) == (strict, loose), repr(text)

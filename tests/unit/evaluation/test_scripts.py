"""Metrics that cannot read the references' script are named before they score 0."""

from __future__ import annotations

import pytest

from brulee.evaluation import metric
from brulee.evaluation.scripts import unread

ALL = [metric(name) for name in ("rouge", "rougeL:1.5.5", "rouge1:unicode", "bleu", "chrf")]
ROUGE = "rouge1, rouge2, rougeL, rougeL:1.5.5: only words of a-z and 0-9"
BLEU = "bleu: words are separated by spaces"


@pytest.mark.parametrize(
    ("text", "rouge", "bleu"),
    [
        ("The room was not ready.", False, False),
        ("Łódź, größer, œuvre, ổn định", False, False),
        ("12:30", False, False),
        ("Заказ 17 потерян", True, False),
        ("주문이 늦었습니다", True, False),
        ("今天天气很好。", True, True),
        ("あしたはれるでしょう", True, True),
        ("สวัสดีครับ", True, True),
    ],
)
def test_what_a_metric_cannot_read_is_said_of_it(text: str, rouge: bool, bleu: bool) -> None:
    said = unread(ALL, [text]) or ""
    assert (ROUGE in said, BLEU in said) == (rouge, bleu)
    assert "unicode:" not in said  # which reads every script
    assert "chrf:" not in said


def test_most_of_the_letters_decide() -> None:
    assert unread(ALL, ["The guest asked for Иван", "and left."]) is None
    assert unread(ALL, ["Гость спросил", "OK"]) is not None
    assert unread([metric("accuracy")], ["Гость"]) is None

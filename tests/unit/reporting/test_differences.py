from hypothesis import given
from hypothesis import strategies as st

from brulee.reporting.differences import diff, mark

texts = st.text(alphabet="aAbc é'-.\n\t_1", max_size=40)


def test_words_of_the_reference_are_marked_whatever_their_case() -> None:
    assert mark("The refund was sent.", "A Refund was lost.") == [
        ("A ", False),
        ("Refund was", True),
        (" lost.", False),
    ]


def test_a_word_counts_where_any_reference_has_it() -> None:
    assert mark(["one", "two"], "two one") == [("two one", True)]


def test_punctuation_alone_is_never_called_shared() -> None:
    assert mark("Yes.", "No.") == [("No.", False)]


def test_a_part_of_a_word_is_not_the_word() -> None:
    assert mark("refund", "refunds") == [("refunds", False)]


def test_parts_of_a_hyphenated_word_are_words_as_rouge_counts_them() -> None:
    assert mark("the wine's stroking", "wine-stroking or wine-tasting") == [
        ("wine-stroking", True),
        (" or ", False),
        ("wine", True),
        ("-tasting", False),
    ]


def test_changed_words_are_removed_then_added() -> None:
    assert diff("The box arrived late.", "The box arrived broken.") == [
        ("same", "The box arrived "),
        ("removed", "late"),
        ("added", "broken"),
        ("same", "."),
    ]


def test_an_empty_side_is_all_added_or_all_removed() -> None:
    assert diff("", "new") == [("added", "new")]
    assert diff("old", "") == [("removed", "old")]
    assert diff("", "") == []


@given(texts, texts)
def test_both_texts_can_be_read_back(before: str, after: str) -> None:
    steps = diff(before, after)
    assert "".join(text for op, text in steps if op != "added") == before
    assert "".join(text for op, text in steps if op != "removed") == after
    assert "".join(text for text, _ in mark(before, after)) == after

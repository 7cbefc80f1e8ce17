"""Arithmetic over token counts."""

import pytest

from brulee.data.inspection_lengths import Cut, MeasuredDocument, cuts, lengths, packing, sizes


def document(prompt: int, learned: int, least: int | None = None) -> MeasuredDocument:
    return MeasuredDocument("task", 0, 0, prompt, learned, least)


def test_quantiles_are_lengths_that_occur_and_bins_count_every_one() -> None:
    found = lengths([10, 20, 30, 40, 1000])
    assert (found.p50, found.p95, found.max, found.total) == (30, 1000, 1000, 1100)
    assert sum(found.bins) == 5


def test_a_lone_giant_does_not_squeeze_the_others_into_one_bin() -> None:
    found = lengths([*range(1, 200), 100_000])
    assert found.max == 100_000
    assert found.beyond == 1
    assert sum(found.bins) == 200
    assert sum(count > 0 for count in found.bins) > 10


def test_one_length_alone_is_a_histogram_too() -> None:
    assert lengths([7]).bins[-1] == 1


def test_a_length_cuts_sources_counts_what_is_lost_and_never_cuts_completions() -> None:
    measured = [document(50, 10, 20), document(90, 10, 40), document(90, 10, None)]
    at_60, at_80, at_30 = cuts(measured, (60, 80, 30))
    assert at_60 == Cut(60, rows_cut=1, tokens_lost=40, misfits=1)
    assert at_80 == Cut(80, rows_cut=1, tokens_lost=20, misfits=1)
    assert at_30 == Cut(30, rows_cut=1, tokens_lost=30, misfits=2)
    assert {cut.completions_cut for cut in (at_60, at_80, at_30)} == {0}


def test_the_recipes_length_is_always_among_those_compared() -> None:
    measured = [document(40, 10), document(300, 10)]
    assert sizes(measured, 77) == (32, 64, 77, 128, 256, 512)
    assert 8192 in sizes(measured, 8192)


def test_packing_wastes_the_end_of_passes_and_padding_up_to_the_longest() -> None:
    found = packing([10, 30, 40, 60], batch_size=2, token_budget=50)
    # 10 + 30 | 40 | 60, which is longer than a pass and has one of its own.
    assert found.passes == 3
    assert found.filled == pytest.approx(140 / 160)
    # Two batches of 30 and 60 wide: 180 cells for 140 tokens.
    assert found.padding == pytest.approx(1 - 140 / 180)
    assert found.padded_batches == 2


def test_examples_go_before_the_source_does() -> None:
    shown = MeasuredDocument("task", 0, 0, 190, 10, least=40, fewer=(150, 100, 60))
    at_120, at_50, at_30 = cuts([shown], (120, 50, 30))
    assert at_120 == Cut(120, rows_cut=0, tokens_lost=100, misfits=0, fewer_examples=1)
    assert at_50 == Cut(50, rows_cut=1, tokens_lost=150, misfits=0)
    assert at_30 == Cut(30, rows_cut=0, tokens_lost=0, misfits=1)

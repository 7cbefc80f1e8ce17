"""Batches: which position predicts which token, packed or padded."""

from __future__ import annotations

import pytest
import torch

from brulee.data.batching import Batch, common_start, pack, pack_pairs, pad, pad_pairs
from brulee.data.encoding import Encoded

DOCUMENTS = [
    Encoded.ending((10, 11, 12, 13), 2),
    Encoded.ending((20, 21), 1),
    Encoded.ending((30, 31, 32), 2),
]


def _predictions(batch: Batch, key: str = "input_ids") -> list[tuple[int, int]]:
    read = batch.inputs[key].flatten()[batch.positions]
    return list(zip(read.tolist(), batch.targets.tolist(), strict=True))


def test_a_pack_predicts_each_completion_token_from_the_one_before_it() -> None:
    batch = pack(DOCUMENTS)
    assert _predictions(batch) == [(11, 12), (12, 13), (20, 21), (30, 31), (31, 32)]
    assert batch.inputs["input_ids"].tolist() == [[10, 11, 12, 13, 20, 21, 30, 31, 32]]


SEVERAL = Encoded((40, 41, 42, 43, 44, 45), ((1, 3), (5, 6)))


def test_every_learned_span_is_predicted_from_the_position_before_each_token() -> None:
    expected = [(11, 12), (12, 13), (40, 41), (41, 42), (44, 45), (20, 21)]
    documents = [DOCUMENTS[0], SEVERAL, DOCUMENTS[1]]
    assert _predictions(pack(documents)) == expected
    assert _predictions(pad(documents, pad_id=0)) == expected
    assert pack(documents).learned == sum(d.learned for d in documents) == 6


def test_a_first_token_cannot_be_learned_as_nothing_predicts_it() -> None:
    whole = Encoded((5, 6), ((0, 2),))
    for batch in (lambda: pack([DOCUMENTS[0], whole]), lambda: pad([whole], 0)):
        with pytest.raises(ValueError, match="nothing stands before"):
            batch()


def test_a_decoder_writes_one_span() -> None:
    with pytest.raises(ValueError, match="one learned span"):
        pad_pairs([SEVERAL], 0, (7,))


def test_a_pack_says_where_documents_begin() -> None:
    inputs = pack(DOCUMENTS).inputs
    assert inputs["cu_seq_lens_q"].tolist() == inputs["cu_seq_lens_k"].tolist() == [0, 4, 6, 9]
    assert inputs["cu_seq_lens_q"].dtype == torch.int32
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 0, 1, 2]]
    assert inputs["max_length_q"] == inputs["max_length_k"] == 4


def test_padding_is_on_the_right_masked_and_never_learned() -> None:
    batch = pad(DOCUMENTS, pad_id=0)
    assert _predictions(batch) == [(11, 12), (12, 13), (20, 21), (30, 31), (31, 32)]
    assert batch.inputs["input_ids"].tolist() == [[10, 11, 12, 13], [20, 21, 0, 0], [30, 31, 32, 0]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]


def test_a_decoder_reads_the_completion_one_step_late() -> None:
    batch = pad_pairs(DOCUMENTS, pad_id=0, start=(7,))
    inputs = batch.inputs
    assert inputs["input_ids"].tolist() == [[10, 11], [20, 0], [30, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1], [1, 0], [1, 0]]
    assert inputs["decoder_input_ids"].tolist() == [[7, 12], [7, 0], [7, 31]]
    assert inputs["decoder_attention_mask"].tolist() == [[1, 1], [1, 0], [1, 1]]
    found = _predictions(batch, "decoder_input_ids")
    assert found == [(7, 12), (12, 13), (7, 21), (7, 31), (31, 32)]


def test_a_forced_token_counts_as_one_that_is_read() -> None:
    """Whether the pairs are padded or packed."""
    plain = pad_pairs(DOCUMENTS, 0, (7,)).tokens
    for forced in (pad_pairs(DOCUMENTS, 0, (7, 9)), pack_pairs(DOCUMENTS, (7, 9))):
        assert forced.tokens == plain + len(DOCUMENTS)


def test_tokens_counted_are_real_ones() -> None:
    for batch in (pack(DOCUMENTS), pad(DOCUMENTS, 0), pad_pairs(DOCUMENTS, 0, (7,))):
        assert batch.tokens == 9
        assert batch.learned == 5
        assert batch.lengths == (4, 2, 3)


def test_moving_a_batch_keeps_what_it_says() -> None:
    batch = pack(DOCUMENTS)
    moved = batch.to(torch.device("cpu"))
    assert moved.inputs.keys() == batch.inputs.keys()
    assert moved.inputs["max_length_q"] == 4
    assert _predictions(moved) == _predictions(batch)
    assert moved.packed == batch.packed


def test_what_documents_have_in_common_ends_before_what_predicts_an_answer() -> None:
    """The token that the first learned one is read after stands in each document by itself."""
    documents = [Encoded.ending((1, 2, 3, 4, last), 1) for last in (8, 9)]
    assert common_start(documents) == 3
    assert common_start(documents[:1]) == 0
    assert common_start([*documents, Encoded.ending((1, 2, 7, 4, 8), 1)]) == 2
    assert common_start([*documents, Encoded.ending((1, 2, 3), 2)]) == 0


def test_what_documents_share_is_stored_once_and_each_goes_on_from_it() -> None:
    documents = [Encoded.ending((1, 2, 3, 4, 8), 1), Encoded.ending((1, 2, 3, 5, 6, 9), 2)]
    batch = pack(documents, shared=3)
    assert batch.inputs["input_ids"].tolist() == [[1, 2, 3, 4, 8, 5, 6, 9]]
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 3, 4, 5]]
    assert batch.inputs["cu_seq_lens_q"].tolist() == [0, 3, 5, 8]
    assert _predictions(batch) == [(4, 8), (5, 6), (6, 9)]
    assert (batch.segments, batch.asked) == ((3, 2, 3), (0, 2, 3))
    assert (batch.lengths, batch.tokens) == ((5, 6), 11)

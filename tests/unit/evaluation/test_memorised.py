"""Tiny models that have, or have not, learned the rows of a file in their order."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from brulee.data.encoding import Encoder
from brulee.errors import InputError
from brulee.evaluation.memorised import Familiarity, familiarity
from brulee.evaluation.min_k import _auc, min_k, min_k_test
from brulee.evaluation.order import OrderTest, order_test
from brulee.evaluation.plain_text import PlainReader
from brulee.evaluation.shares import wilson
from brulee.inference.engine import Engine
from brulee.inference.session import open_engine
from brulee.models.loading import Base

NOUNS = ("parcel", "room", "guest", "agent", "hotel", "review", "star", "customer")
MADE = Random(3)
ROWS = [f"The {a} and the {b} are {c}." for a, b, c in (
    (MADE.choice(NOUNS), MADE.choice(NOUNS), MADE.choice(("late", "ready", "new", "positive")))
    for _ in range(32)
)]  # fmt: skip
OTHERS = [f"Which {MADE.choice(NOUNS)} sent the {MADE.choice(NOUNS)} {i}?" for i in range(32)]

Model = tuple[Engine, Encoder]


def opened(base: Base) -> Model:
    encoder = Encoder(base.tokenizer, kind=base.kind)
    return open_engine(base, encoder), encoder


@pytest.fixture(scope="module")
def untrained(make_base: Callable[..., Base]) -> Model:
    return opened(make_base("llama", initializer_range=0.02))


@pytest.fixture(scope="module")
def reader_of_the_file(make_base: Callable[..., Base]) -> Model:
    """Learned the rows in the order of the file, 65 tokens of it at a time."""
    base = make_base("llama", initializer_range=0.02, hidden_size=64, intermediate_size=128)
    model = opened(base)
    reader = PlainReader(*model)
    ids = [token for row in ROWS for token in reader.tokens(row + "\n\n")]
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(base.model.parameters(), lr=1e-2)
    base.model.train()
    chance = Random(0)
    for _ in range(120):
        starts = [chance.randrange(len(ids) - 64) for _ in range(4)]
        batch = torch.tensor([ids[s : s + 65] for s in starts])
        loss = base.model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    base.model.eval()
    return model


def test_min_k_is_the_mean_of_the_lowest_fifth() -> None:
    values = np.array([-1.0, -9.0, -2.0, -3.0, -0.5, -7.0, -1.0, -1.0, -1.0, -1.0])
    assert min_k(values) == -8.0
    assert min_k(values, 0.1) == -9.0
    assert min_k(np.array([-2.0, -4.0])) == -4.0
    with pytest.raises(ValueError, match="no token"):
        min_k(np.array([]))


def test_token_log_probabilities_add_up_to_the_engines(untrained: Model) -> None:
    reader = PlainReader(*untrained)
    document = reader.document(reader.tokens(ROWS[0]))
    found = reader.log_probabilities(document)
    assert len(found) == len(document.ids) - 1
    whole = untrained[0].loglikelihood([document])[0].log_probability
    assert found.sum() == pytest.approx(whole, rel=1e-5)


def test_a_model_that_learned_the_file_prefers_its_order(reader_of_the_file: Model) -> None:
    found = order_test(*reader_of_the_file, ROWS)
    assert found is not None
    assert found.p < 0.01
    assert found.difference > 0
    assert found.neighbours_p > 0.05
    assert (found.shards, found.rows) == (8, 32)


def test_it_prefers_no_other_order(reader_of_the_file: Model) -> None:
    """One order in twenty is below 0.05 by chance; the median of seven is in 0.02 % of cases."""
    orders = [Random(i).sample(ROWS, 32) for i in range(7)]
    found = [order_test(*reader_of_the_file, rows, permutations=3) for rows in orders]
    assert sorted(test.p for test in found if test is not None)[3] > 0.05


def test_an_untrained_model_gives_no_evidence(untrained: Model) -> None:
    found = familiarity(*untrained, ROWS[::2], ROWS[1::2])
    assert found.order is not None
    assert found.order.p > 0.05
    assert found.min_k.p > 0.05
    assert found.min_k.low < 0.5 < found.min_k.high
    assert "neither more nor less likely" in found.sentence()
    assert "does not prefer" in found.sentence()


def test_p_values_are_spread_evenly_where_there_is_nothing_to_find(untrained: Model) -> None:
    """Under the null one in ten is below 0.1; 3 of 10 or fewer happen in 99 % of cases."""
    found = [order_test(*untrained, Random(i).sample(ROWS, 16), permutations=3) for i in range(10)]
    assert sum(test is not None and test.p < 0.1 for test in found) <= 3


def test_texts_that_were_learned_are_less_of_a_surprise(reader_of_the_file: Model) -> None:
    found = min_k_test(*reader_of_the_file, ROWS, OTHERS)
    assert found.auc > 0.95
    assert found.p < 1e-6
    assert found.shuffled < found.tested
    turned = min_k_test(*reader_of_the_file, OTHERS, ROWS)
    assert turned.auc == pytest.approx(1 - found.auc)


def test_at_most_so_many_rows_are_read_and_empty_ones_are_not(untrained: Model) -> None:
    found = min_k_test(*untrained, ["", "a", *ROWS], OTHERS, most=9)
    assert found.reference_rows == 9
    assert 7 <= found.tested_rows <= 9
    with pytest.raises(InputError, match="two test rows and two training rows"):
        min_k_test(*untrained, ["", ROWS[0]], OTHERS)


def test_rows_that_stand_in_groups_are_recognised(untrained: Model) -> None:
    grouped = [f"The {noun} is {what}" for noun in NOUNS for what in ("late", "new", "ready")]
    found = familiarity(*untrained, grouped, OTHERS)
    assert found.order is not None
    assert found.order.neighbours_p < 0.01
    assert "neighbouring rows are alike" in found.sentence()


def test_too_few_rows_have_no_order(untrained: Model) -> None:
    assert order_test(*untrained, ROWS[:7]) is None
    assert "too few rows" in familiarity(*untrained, ROWS[:7], OTHERS).sentence()


def test_long_rows_are_cut_so_that_four_make_a_shard(untrained: Model) -> None:
    found = order_test(*untrained, [" ".join(ROWS[i : i + 12]) for i in range(8)], permutations=2)
    assert found is not None
    assert (found.shards, found.rows) == (2, 8)


def test_an_encoder_decoder_is_refused(make_base: Callable[..., Base]) -> None:
    with pytest.raises(InputError, match="encoder-decoder"):
        order_test(*opened(make_base("t5")), ROWS)


def test_scores_that_are_perfectly_separated_may_overlap_in_other_texts() -> None:
    apart, alike = (np.arange(20.0) + shift for shift in (20, 0))
    assert _auc(apart, alike[:15]) == (1.0, *wilson(1.0, 15))
    assert _auc(alike, apart) == (0.0, *wilson(0.0, 20))
    assert _auc(alike, alike)[0] == 0.5


@pytest.mark.parametrize(
    ("auc", "p", "order", "said"),
    [
        (0.9, 0.001, (0.001, 0.5), ["they are more likely to it", "prefers the order of the file"]),
        (0.1, 0.001, (0.3, 0.5), ["they are less likely to it", "does not prefer"]),
        (0.6, 0.2, (0.001, 0.001), ["neither more nor less likely", "shows nothing"]),
    ],
)
def test_findings_are_called_evidence(
    untrained: Model, auc: float, p: float, order: tuple[float, float], said: list[str]
) -> None:
    found = min_k_test(*untrained, ROWS[:5], OTHERS[:5])
    sentence = Familiarity(
        replace(found, auc=auc, p=p), OrderTest(1.0, order[0], order[1], 9, 40, 8)
    ).sentence()
    assert "evidence, not proof" in sentence
    for part in said:
        assert part in sentence

import numpy as np
import pytest

from brulee.evaluation.stats import compare
from brulee.reporting import results as r
from brulee.reporting import several_tasks
from brulee.reporting.verdict import verdict, with_verdict

GAIN = r.Comparison(
    task="support-chats/test", metric="rouge1", base=0.31, tuned=0.45, difference=0.14,
    low=0.10, high=0.18, p=0.0001, wins=24, losses=4, ties=2, minimum_detectable=0.05,
)  # fmt: skip
COST = r.Cost(trainable_parameters=18, total_parameters=1000, train_seconds=250)
LORA = r.Method.model_validate({"name": "lora", "label": "LoRA r8", "rank": 8})


def guard(
    low: float, high: float, task: str = "common-knowledge", p: float | None = None
) -> r.Forgetting:
    middle = (low + high) / 2
    p = p if p is not None else 0.5 if low <= 0 <= high else 0.001
    return r.Forgetting(
        task=task, metric="accuracy", base=0.5, tuned=0.5 + middle, difference=middle,
        low=low, high=high, p=p, kept=r.outcome(low, high, p),
    )  # fmt: skip


def results(*comparisons: r.Comparison, guards: tuple[r.Forgetting, ...] = ()) -> r.Results:
    return r.Results(
        run="demo",
        base=r.Base(name="bundled", digest="abc"),
        method=LORA,
        comparisons=comparisons,
        forgetting=guards,
        cost=COST,
    )


def changed(**values: object) -> r.Comparison:
    return GAIN.model_copy(update=values)


@pytest.mark.parametrize(
    ("low", "p", "said"),
    [
        (0.01, 0.07, "+0.01 to +0.21, yet p = 0.070"),
        (-0.01, 0.03, "-0.01 to +0.21, yet p = 0.030"),
        (-0.01, 0.07, "-0.01 to +0.21, p = 0.070"),
    ],
)
def test_an_interval_and_p_that_contradict_each_other_are_said_to(
    low: float, p: float, said: str
) -> None:
    text = verdict(results(changed(low=low, high=0.21, p=p)))
    assert "did not measurably change" in text
    assert said in text


def test_the_interval_of_a_change_of_one_item_or_group_is_said_to_be_unknown() -> None:
    base = np.array([[0.2], [0.5], [0.3]])
    found = compare(base, base + 0.1 * base, lambda mean_S, _: mean_S[..., 0], clusters=["a"] * 3)
    one = changed(**found._asdict())
    assert ": +0.03, 95% interval unknown, p = 1.00, on too few" in verdict(results(one))


def test_a_test_of_so_few_items_is_said_to_show_nothing() -> None:
    few = changed(p=0.25, wins=3, losses=0, ties=0, minimum_detectable=None)
    assert "p = 0.25, on too few items to show any difference)" in verdict(results(few))


def test_items_that_all_changed_alike_are_not_called_too_few() -> None:
    base, tuned = np.zeros((12, 1)), np.full((12, 1), 0.3)
    found = compare(base, tuned, lambda mean_S, _: mean_S[..., 0])
    alike = changed(**found._asdict())
    said = verdict(results(alike))
    assert "on items that all changed alike" in said
    assert "too few" not in said


def test_many_items_that_stayed_the_same_are_not_called_too_few() -> None:
    same = changed(difference=0.0, low=-0.01, high=0.01, p=1.0, wins=0, losses=0, ties=40)
    same = same.model_copy(update={"tuned": same.base, "minimum_detectable": None})
    assert "p = 1.00, on items none of which changed)" in verdict(results(same))


def test_a_gain_is_said_with_interval_cost_guard() -> None:
    assert verdict(results(GAIN, guards=(guard(-0.05, 0.03),))) == (
        "LoRA r8 raised ROUGE-1 on support-chats/test from 0.31 to 0.45 (+0.14, 95% interval "
        "+0.10 to +0.18, p < 0.001), training 1.8% of the parameters in 4 min 10 s; "
        "common-knowledge did not measurably change (-0.01, interval -0.05 to +0.03: "
        "could be as bad as -0.05)."
    )


@pytest.mark.parametrize("values", [{"p": 0.2}, {"low": -0.01}])
def test_a_difference_that_may_be_chance_is_never_called_a_gain(values: dict[str, float]) -> None:
    said = verdict(results(changed(**values)))
    scores = "(0.31 before, 0.45 after: +0.14, 95% interval"
    assert f"did not measurably change ROUGE-1 on support-chats/test {scores}" in said
    assert "raised" not in said
    assert "the least that 30 items can show is 0.05" in said


def test_what_can_be_shown_is_never_zero() -> None:
    said = verdict(results(changed(p=0.2, minimum_detectable=0.00042)))
    assert "the least that 30 items can show is 0.0004)" in said


def test_a_loss_is_said_to_be_one() -> None:
    lower = changed(tuned=0.2, difference=-0.11, low=-0.15, high=-0.07)
    assert "lowered ROUGE-1 on support-chats/test from 0.31 to 0.20 (-0.11" in verdict(
        results(lower)
    )


def test_another_score_that_fell_is_not_hidden_behind_the_first() -> None:
    fell = changed(metric="bleu", difference=-0.03, low=-0.05, high=-0.01)
    assert "but BLEU (-0.03) got worse" in verdict(results(GAIN, fell))
    assert "got worse" not in verdict(results(GAIN, changed(metric="bleu", p=0.3)))


def test_a_gain_that_the_likeliest_choices_do_not_show_may_be_one_of_form() -> None:
    gain = changed(metric="accuracy")
    same = changed(metric="ranked_accuracy", difference=0.08, low=-0.13, high=0.29, p=0.69)
    assert (
        "; but accuracy of ranked choices did not measurably change (+0.08, interval -0.13 to "
        "+0.29), so that the gain may be one of form; forgetting"
    ) in verdict(results(gain, same))
    others = (
        (gain, changed(metric="ranked_accuracy")),
        (changed(metric="accuracy", p=0.4), same),
        (GAIN, same),
        (gain,),
    )
    assert not any("form" in verdict(results(*pairs)) for pairs in others)
    lost = changed(metric="ranked_accuracy", difference=-0.14, low=-0.2, high=-0.1)
    assert "form" not in verdict(results(gain, lost))


def test_a_score_that_only_describes_is_not_called_worse() -> None:
    copied = changed(metric="novel_1grams", difference=-0.3, low=-0.4, high=-0.2, descriptive=True)
    assert "worse" not in verdict(results(GAIN, copied))
    assert "lowered novel words on support-chats/test from" in verdict(results(copied))
    unclear = verdict(results(changed(metric="coverage", low=-0.1, descriptive=True)))
    assert "did not measurably change coverage" in unclear


def test_a_metric_where_lower_is_better_says_which_way_is_good() -> None:
    loss = changed(metric="loss", difference=-0.1, low=-0.2, high=-0.05, higher_is_better=False)
    assert "lowered (better) loss" in verdict(results(loss))


def test_no_test_rows_means_nothing_was_measured() -> None:
    said = verdict(results())
    assert said.startswith("Nothing was measured of what LoRA r8 gained after training 1.8%")
    assert said.endswith("forgetting was not measured.")


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.18, -0.06, "it forgot part of common-knowledge (-0.12, interval -0.18 to -0.06)"),
        (0.02, 0.06, "common-knowledge got better"),
        (
            -0.01,
            0.01,
            "common-knowledge did not measurably change (0.00, interval -0.01 to +0.01).",
        ),
    ],
)
def test_each_outcome_of_a_guard_has_its_own_words(low: float, high: float, words: str) -> None:
    assert words in verdict(results(GAIN, guards=(guard(low, high),)))


def test_a_guard_whose_p_does_not_agree_with_its_interval_did_not_change() -> None:
    lost, gained = guard(-0.18, -0.02, p=0.07), guard(0.01, 0.18, p=0.07)
    assert (lost.kept, gained.kept) == ("unclear", "kept")
    assert (
        "common-knowledge did not measurably change (-0.10, interval -0.18 to -0.02, yet p = 0.070:"
        " could be as bad as -0.18)"
    ) in verdict(results(GAIN, guards=(lost,)))


def test_a_guard_of_which_less_is_better_names_its_unit_beside_the_sign() -> None:
    worse = guard(0.02, 0.06).model_copy(
        update={"metric": "bits_per_byte", "higher_is_better": False, "kept": "forgot"}
    )
    said = verdict(results(GAIN, guards=(worse,)))
    assert "it forgot part of common-knowledge (+0.04 bits per byte, interval +0.02 to" in said


def test_guards_that_are_not_named_are_not_said_to_be_safe() -> None:
    doubtful = tuple(guard(-0.1, 0.05, f"open-{i}") for i in range(5))
    said = verdict(results(GAIN, guards=(guard(-0.01, 0.01, "fine"), *doubtful)))
    assert said.endswith("no measurable loss on 3 other guards, nor is one ruled out on 2 of them.")


def test_every_forgotten_guard_is_named_however_many_there_are() -> None:
    lost = tuple(guard(-0.2, -0.1, f"lost-{i}") for i in range(5))
    said = verdict(results(GAIN, guards=(guard(-0.01, 0.01, "fine"), *lost)))
    assert said.count("it forgot part of") == 5
    assert "no measurable loss on 1 other guard." in said


def test_a_tiny_interval_is_not_rounded_to_zero() -> None:
    small = changed(tuned=0.314, difference=0.004, low=0.002, high=0.006)
    assert "from 0.310 to 0.314 (+0.004, 95% interval +0.002 to +0.006" in verdict(results(small))


def test_a_proven_change_is_never_shown_as_nothing() -> None:
    least = changed(tuned=0.3102, difference=0.0002, low=0.0001, high=0.0003)
    assert "from 0.3100 to 0.3102 (+0.0002, 95% interval +0.0001 to +0.0003" in verdict(
        results(least)
    )
    lost = guard(-0.0300, -0.0002)
    assert "(-0.0151, interval -0.0300 to -0.0002)" in verdict(results(GAIN, guards=(lost,)))


def test_many_items_of_few_groups_are_not_called_many() -> None:
    grouped = {"support-chats/test": 4}
    unsure = results(changed(p=0.2)).model_copy(update={"groups": grouped})
    assert "the least that 30 in 4 groups can show is 0.05" in verdict(unsure)
    few = results(changed(p=0.2, minimum_detectable=None)).model_copy(update={"groups": grouped})
    assert "on 30 in 4 groups, which are too few to show any difference)" in verdict(few)


def test_several_tasks_say_the_change_of_an_error_as_each_task_does() -> None:
    bits = [
        changed(task=task, metric="bits_per_byte", base=1.0, tuned=1.0 + change, difference=change,
                low=change - 0.01, high=change + 0.01, higher_is_better=False)
        for task, change in (("a", -0.1), ("b", -0.3), ("c", 0.1))
    ]  # fmt: skip
    said = verdict(results(*bits))
    assert "improved 2 of 3 tasks (1 worse, 0 unclear; bits per byte -0.10 on average)" in said
    assert "worse: c (bits per byte +0.10)" in said
    hardly = [changed(task=task, difference=-0.001, low=-0.01, high=0.01, p=0.9) for task in "ab"]
    assert "(0 worse, 2 unclear; ROUGE-1 -0.001 on average)" in verdict(results(*hardly))


def test_a_task_that_is_alone_of_its_kind_is_told_and_not_counted() -> None:
    held_out = changed(task="old/test", base=0.5, tuned=0.3, difference=-0.2, low=-0.3, high=-0.1,
                       p=0.04, trained=False)  # fmt: skip
    said = verdict(results(changed(task="new/test"), held_out))
    first, second, *_ = said.split("; ")
    assert first.startswith("LoRA r8 raised ROUGE-1 on new/test from 0.31 to 0.45 (+0.14, ")
    assert "corrected p < 0.001), the only task trained on, training 1.8% of the" in first
    assert second == (
        "lowered ROUGE-1 on old/test from 0.50 to 0.30 (-0.20, 95% interval -0.30 to -0.10, "
        "corrected p = 0.040), the only task held out"
    )
    assert "worse" not in said
    unsure = held_out.model_copy(update={"p": 0.06})
    assert "; did not measurably change ROUGE-1 on old/test (" in verdict(
        results(changed(task="new/test"), unsure)
    )
    two = verdict(results(*(changed(task=task) for task in ("new/test", "more/test")), held_out))
    assert "improved 2 of 2 tasks (0 worse, 0 unclear; " in two
    assert "; lowered ROUGE-1 on old/test from 0.50 to 0.30" in two


def test_a_further_score_that_fell_on_several_tasks_is_not_hidden_behind_the_first() -> None:
    fell = {"metric": "faithfulness", "difference": -0.1, "low": -0.2, "high": -0.05}
    both = [pair for task in "abc" for pair in (changed(task=task), changed(task=task, **fell))]
    both[-1] = both[-1].model_copy(update={"p": 0.4})
    assert "; but got worse: faithfulness on 2 of 3;" in verdict(results(*both))
    assert "but got worse" not in verdict(results(*both[::2]))


COPIED = {"metric": "coverage", "descriptive": True}


def test_tasks_are_counted_by_a_score_that_can_improve_wherever_it_is_listed() -> None:
    listed = [pair for task in "ab" for pair in (changed(task=task, **COPIED), changed(task=task))]
    said = verdict(results(*listed))
    assert "improved 2 of 2 tasks (0 worse, 0 unclear; ROUGE-1 +0.14 on average)" in said
    assert "got worse" not in said
    assert several_tasks.figures(results(*listed))[0] == ("2 of 2", "tasks improved")
    listed[2:] = [changed(task="b", **COPIED)]
    assert "improved 1 of 2 tasks (0 worse, 0 unclear, 1 not judged)" in verdict(results(*listed))


def test_tasks_with_descriptive_scores_alone_are_not_called_better_or_worse() -> None:
    fell = {"difference": -0.1, "low": -0.2, "high": -0.05}
    listed = [changed(task="a", **COPIED), changed(task="b", **COPIED, **fell)]
    said = verdict(results(*listed))
    assert "changed coverage on 2 of 2 tasks (1 up, 1 down, 0 unclear; " in said
    assert "worse" not in said
    assert "improved" not in said
    assert several_tasks.figures(results(*listed)) == [("+0.02", "coverage on average")]


def test_the_sentence_is_stored_with_the_results() -> None:
    assert with_verdict(results(GAIN)).verdict == verdict(results(GAIN))


def test_a_guard_of_one_text_is_said_to_be_one() -> None:
    alone = guard(-0.01, -0.01, "plain-prose", p=1.0).model_copy(update={"kept": "unclear"})
    assert verdict(results(GAIN, guards=(alone,))).endswith(
        "; plain-prose was measured on one item or group alone (-0.01)."
    )

"""Which method reads which adapter."""

from collections import Counter

from brulee.methods import METHODS, readers


def test_every_type_of_adapter_has_one_method_that_reads_it() -> None:
    kinds = Counter(kind for method in METHODS.values() for kind in method.peft_types)
    assert set(kinds.values()) == {1}, "the last of them would read what others wrote"
    found = {kind: method.name for kind, method in readers().items()}
    assert (
        found.items()
        >= {
            "BRULEE_BOTTLENECK": "bottleneck",
            "BRULEE_SELECTIVE": "selective",
            "IA3": "ia3",
            "LORA": "lora",
            "PREFIX_TUNING": "prefix",
            "PROMPT_TUNING": "prompt",
            "P_TUNING": "prompt",
        }.items()
    )


def test_a_method_reads_adapters_or_stores_models() -> None:
    for name, method in METHODS.items():
        assert bool(method.peft_types) != method.stores_model, name

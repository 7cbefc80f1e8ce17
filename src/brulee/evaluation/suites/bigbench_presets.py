"""Presets of BIG-bench tasks, by the names of their folders.

full   every folder with a task.json (167 in `bigbench` 1.0.0)
lite   24 diverse tasks (Srivastava et al. 2022, `bigbench_lite_v1`)
hard   23 tasks on which models were below average human raters (Suzgun et al. 2022)
"""

from __future__ import annotations

from typing import Final

FULL_COUNT: Final = 167  # in `bigbench` 1.0.0
LITE: Final = (
    "auto_debugging", "bbq_lite_json", "code_line_description", "conceptual_combinations",
    "conlang_translation", "emoji_movie", "formal_fallacies_syllogisms_negation",
    "hindu_knowledge", "known_unknowns", "language_identification", "linguistics_puzzles",
    "logic_grid_puzzle", "logical_deduction", "misconceptions_russian", "novel_concepts",
    "operators", "parsinlu_reading_comprehension", "play_dialog_same_or_different",
    "repeat_copy_logic", "strange_stories", "strategyqa", "symbol_interpretation",
    "vitaminc_fact_verification", "winowhy",
)  # fmt: skip
# Programmatic tasks, not JSON files; the suite `bbh` has items drawn from them.
PROGRAMS: Final = ("boolean_expressions", "multistep_arithmetic", "web_of_lies")
HARD: Final = (
    "causal_judgment", "date_understanding", "disambiguation_qa", "dyck_languages",
    "formal_fallacies_syllogisms_negation", "geometric_shapes", "hyperbaton", "logical_deduction",
    "movie_recommendation", "navigate", "object_counting", "penguins_in_a_table",
    "reasoning_about_colored_objects", "ruin_names", "salient_translation_error_detection",
    "snarks", "sports_understanding", "temporal_sequences", "tracking_shuffled_objects",
    "word_sorting", *PROGRAMS,
)  # fmt: skip
# Scored by BLEURT, which needs another model.
UNSCORED: Final = ("few_shot_nlg",)

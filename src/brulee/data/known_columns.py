"""Usual names of columns in instruction data."""

from __future__ import annotations

# Columns of a prompt and a completion in the formats that name them.
NAMED = (("prompt", "completion"), ("instruction", "output"), ("instruction", "response"))
# Column pairs of sequence-to-sequence data, and an instruction if the names imply the task.
PAIRS: dict[tuple[str, str], str] = {
    ("input", "output"): "",
    ("inputs", "outputs"): "",
    ("inputs", "targets"): "",
    ("input", "target"): "",
    ("input", "expected_output"): "",
    ("input_text", "target_text"): "",
    ("input_text", "output_text"): "",
    ("source", "target"): "",
    ("src", "tgt"): "",
    ("prompt", "response"): "",
    ("prompt", "answer"): "",
    ("query", "response"): "",
    ("query", "answer"): "",
    ("context", "response"): "",
    ("user", "assistant"): "",
    ("human", "assistant"): "",
    ("question", "response"): "",
    ("question", "answer"): "",
    ("questions", "answers"): "",
    ("question", "solution"): "",
    ("problem", "solution"): "",
    ("dialogue", "summary"): "Summarize the following conversation.\n\n",
    ("document", "summary"): "Summarize the following document.\n\n",
    ("article", "highlights"): "Summarize the following article.\n\n",
    ("article", "abstract"): "Write an abstract of the following article.\n\n",
    ("article", "summary"): "Summarize the following article.\n\n",
    ("text", "summary"): "Summarize the following text.\n\n",
}
# Those of them that are read so only where none of the others fits.
SECOND_PAIRS = frozenset(
    (
        *(("input", "expected_output"), ("input_text", "output_text"), ("prompt", "answer")),
        *(("query", "answer"), ("context", "response"), ("user", "assistant")),
        *(("human", "assistant"), ("questions", "answers"), ("question", "solution")),
        *(("problem", "solution"), ("article", "abstract")),
    )
)
# What is to be written in data that has it, whatever stands beside it.
TARGETS = frozenset((*(target for _, target in (*NAMED, *PAIRS)), "label", "labels"))
# Context columns, which a prompt has to include: without them a pair would be a harder task.
CONTEXT = frozenset(
    (
        *("article", "context", "document", "evidence", "paragraph", "passage", "story", "text"),
        *("choices", "endings", "options"),
        *("definition", "instruction", "input", "prefix", "query", "question"),
        *("dialogue", "history"),
        *("source_language", "src_lang", "target_language", "tgt_lang"),
    )
)
# Metadata columns next to `text`, which are not labels to learn.
ABOUT_TEXT = frozenset(
    (
        *("id", "idx", "index", "uuid", "url", "source", "meta", "metadata", "timestamp", "date"),
        *("title", "lang", "language", "file", "path", "file_path", "dump", "created", "added"),
        *("language_score", "token_count", "license"),
    )
)

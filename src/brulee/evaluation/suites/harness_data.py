"""The documents of a task: local JSON, CSV or Parquet files, a folder, or a data set on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from brulee.data.rows import Rows
from brulee.data.sources import open_source
from brulee.data.split_names import SPLIT_NAMES
from brulee.errors import InputError, unknown
from brulee.evaluation.suites.harness_config import TaskConfig
from brulee.evaluation.suites.harness_fields import Document

_CONTAINERS: Final = ("json", "csv", "parquet")
_ARGUMENTS: Final = ("data_files", "data_dir", "trust_remote_code")


class Documents:
    """The splits of the data of one task of a `file`; `data` overrides the location of its files.

    A row's place begins with the task's file, since its templates may be what is wrong.
    """

    def __init__(self, task: TaskConfig, file: str, folder: Path, data: Path | None) -> None:
        self.task, self.file, self.folder, self.data = task, file, folder, data
        self._read: dict[str, list[Document]] = {}

    def tested(self) -> list[Document]:
        """The rows to evaluate: those of test_split, else of validation_split."""
        split = self.task.test_split or self.task.validation_split
        if split is None:
            raise InputError(f"{self.task.task}: it names neither test_split nor validation_split.")
        return self.split(split)

    def solved(self) -> list[Document]:
        """The rows that may be shots, in the harness's order of preference."""
        shots = self.task.shots_config
        if shots.split is not None:
            return self.split(shots.split)
        if shots.samples is not None:
            return [self._sample(i, row) for i, row in enumerate(shots.samples, start=1)]
        split = self.task.training_split or self.task.validation_split
        return self.split(split) if split is not None else self.tested()

    def _sample(self, number: int, row: dict[str, Any]) -> Document:
        """A shot given in place. InputError if it lacks a column that the rows have."""
        place = f"{self.task.task}: fewshot_config.samples {number}"
        shots = self.task.shots_config
        columns = {name for document in self.tested()[:1] for name in document.values}
        for field in (shots.doc_to_text, shots.doc_to_target, shots.doc_to_choice):
            if isinstance(field, str) and field in columns - row.keys():
                raise unknown("column", field, row, place)
        return Document(row, place)

    def split(self, name: str) -> list[Document]:
        """The rows of a split. Raises InputError if the data have no split of that name."""
        if name not in self._read:
            self._read[name] = [
                Document(row, f"{self.file}, with {rows.place(i)}")
                for rows, i, row in self._rows(name)
            ]
        return self._read[name]

    def _rows(self, split: str) -> list[tuple[Rows, int, dict[str, Any]]]:
        if self.task.dataset_path in _CONTAINERS:
            return [
                (rows, i, rows[i])
                for file in self._files(split)
                for rows in [open_source(str(file))]
                for i in range(len(rows))
            ]
        rows = open_source(self._source())
        named = SPLIT_NAMES.get(split.lower(), split)
        if not rows.published:
            raise InputError(
                f"{rows.name}: no split {split!r}, and one file has no splits; name a folder of "
                "files that are called after splits, or dataset_path json, csv or parquet."
            )
        if named not in rows.published:
            raise unknown("split", split, rows.published, rows.name)
        return [(rows, i, rows[i]) for i in rows.published[named]]

    def _source(self) -> str:
        """--data, a folder next to the task file, or a data set on the Hub."""
        if self.data is not None:
            return str(self.data)
        for name in self.task.dataset_kwargs or {}:
            if name != "trust_remote_code":
                raise InputError(
                    f"{self.task.task}: dataset_kwargs.{name} is not supported with dataset_path "
                    f"{self.task.dataset_path}; name the files with dataset_path json, csv or "
                    "parquet, or their folder with --data."
                )
        beside = self.folder / self.task.dataset_path
        if beside.exists():
            return str(beside)
        config = f":{self.task.dataset_name}" if self.task.dataset_name else ""
        return f"{self.task.dataset_path}{config}"

    def _files(self, split: str) -> Sequence[Path]:
        arguments = self.task.dataset_kwargs or {}
        for name in arguments:
            if name not in _ARGUMENTS:
                raise unknown("key of dataset_kwargs", name, _ARGUMENTS, self.task.task)
        named = arguments.get("data_files")
        if named is None:
            raise InputError(
                f"{self.task.task}: dataset_path {self.task.dataset_path} needs "
                "dataset_kwargs.data_files."
            )
        by_split = named if isinstance(named, dict) else {"train": named}
        if split not in by_split:
            raise unknown("split", split, by_split, f"{self.task.task}: data_files")
        names = by_split[split] if isinstance(by_split[split], list) else [by_split[split]]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise InputError(
                f"{self.task.task}: data_files {split} is {by_split[split]!r}; the name of a file, "
                "or a list of names, is needed."
            )
        inside = Path(str(arguments.get("data_dir") or ""))
        return [file for name in names for file in self._found(inside / name)]

    def _found(self, name: Path) -> list[Path]:
        """The files for a name or pattern: in --data, the working directory or next to the task."""
        for root in (self.data, Path(), self.folder):
            if root is None:
                continue
            if (root / name).is_file():
                return [root / name]
            if not name.is_absolute() and (files := sorted(root.glob(str(name)))):
                return files
        raise InputError(f"{self.task.task}: data_files {name}: no such file.")

"""Prompts read as a stream and continued in rows: a finished row's place goes to the next prompt.

Shapes: `N` prompts or tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from transformers import PreTrainedModel

from brulee.inference.branches import lay_out
from brulee.inference.path_reader import Ending, Keep, PathReader
from brulee.inference.reading import Pair, read
from brulee.inference.row import Row, Shared
from brulee.inference.rows import Rows
from brulee.inference.same_bits import up
from brulee.inference.waves import Wave


class StreamDecoder:
    """Continues the prompts of a wave, in its order.

    A row's own tokens are those of its prompt that its group does not share, and those written.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        wave: Wave,
        pass_tokens: int,
    ) -> None:
        self.model, self.prompts = model, prompts
        self.rows = Rows(wave.rows, wave.room)
        self._pass_tokens = pass_tokens
        self._stream = lay_out(prompts, [len(p) - 1 for p in prompts])
        self._reader = PathReader(model, self._stream)
        self._read = self._next = 0
        nothing = Shared()
        self._shared = [Shared() if g.tokens else nothing for g in wave.groups]
        self._group_of = [k for k, g in enumerate(wave.groups) for _ in range(g.start, g.stop)]
        self._groups = wave.groups

    @property
    def waiting(self) -> int:
        """Prompts that have not been read."""
        return len(self.prompts) - self._next

    @property
    def free(self) -> int:
        """Rows that there is room for."""
        return self.rows.most - len(self.rows.rows)

    def admit(self, most: int) -> tuple[list[int], torch.Tensor]:
        """Read the next prompts, at most so many: which they are, and logits (N, V) after each."""
        chosen = list(range(self._next, min(self._next + most, len(self.prompts))))
        self._next += len(chosen)
        ends = [int(self._stream.paths[i][0]) for i in chosen]
        keeps = [self._opened(i) for i in chosen]
        logits: dict[int, torch.Tensor] = {}
        # A prompt that equals the last one read is on the stack; its last token is read again.
        for part in self._stream.passes(min(self._read, ends[0]), ends[-1] + 1, self._pass_tokens):
            inside = [k for k, end in enumerate(ends) if part.start <= end < part.stop]
            asked = sorted({ends[k] for k in inside})
            endings = [Ending(ends[k] - part.start, keeps[k]) for k in inside]
            rows = torch.tensor(asked, dtype=torch.long, device=self._reader.device) - part.start
            found = self._reader.read(part, rows, endings)
            logits.update(zip(asked, found, strict=True))
        self._read = ends[-1] + 1
        return chosen, torch.stack([logits[end] for end in ends])

    @property
    def several(self) -> bool:
        """Whether a row may be given several tokens at once."""
        return self.rows.several

    @torch.no_grad()
    def push(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append tokens to every row; logits (N, V) after each of them, row by row."""
        counts = [len(own) for own in tokens]
        device, total = self._reader.device, sum(counts)
        spare = up(total) - total
        ids = [token for own in tokens for token in own]
        positions = [
            row.position + i
            for row, count in zip(self.rows.rows, counts, strict=True)
            for i in range(count)
        ]
        reader = self.rows.begin(counts, device)
        logits = read(
            self.model,
            torch.tensor([*ids, *ids[:1] * spare], device=device),
            torch.tensor([*positions, *[0] * spare], device=device),
            reader,
            torch.arange(total + spare, device=device),
        )
        self.rows.end(counts)
        return logits[:total]

    def cut(self, counts: Sequence[int]) -> None:
        """Forget the last so many tokens of each row."""
        self.rows.end([-count for count in counts])

    def drop(self, gone: list[int]) -> list[int]:
        """Forget rows; returns which of the rows before is now at each place."""
        order = self.rows.drop(gone)
        held = {id(row.group) for row in self.rows.rows}
        for group, shared in zip(self._groups, self._shared, strict=True):
            if group.stop <= self._next and id(shared) not in held:
                shared.layers.clear()
        return order

    def select(self, parents: list[int]) -> None:
        """Put a copy of row parents[i] at every place i."""
        self.rows.select(parents)

    def _opened(self, prompt: int) -> Keep:
        """A new row for a prompt, and what keeps its keys and values as they are read."""
        group = self._group_of[prompt]
        shared, tokens = self._shared[group], len(self.prompts[prompt])
        own = tokens - self._groups[group].tokens
        self.rows.rows.append(Row(shared, tokens - own, own, tokens))
        return partial(self._keep, len(self.rows.rows) - 1)

    def _keep(self, at: int, layer: int, stack: Pair, top: int) -> None:
        self.rows.keep(layer, at, stack, top)

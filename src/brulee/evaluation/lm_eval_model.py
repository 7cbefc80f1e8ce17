"""lm-evaluation-harness on our engine, adapters included.

    python -m brulee.evaluation.lm_eval_model run --model brulee --model_args target=RUN --tasks ...

is the harness's command line with one more model. Its registry does not support entry points, so an
external model must be registered in the process that runs it: by this module's command, or by
importing `BruleeLM` before calling `simple_evaluate`. Written against lm-eval 0.4.13.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import model_registry, register_model

from brulee.data.chat_rendering import Rendering
from brulee.data.encoding import Encoded
from brulee.errors import BruleeError, InputError
from brulee.inference.engine import Likelihood
from brulee.inference.rolling import rolling
from brulee.inference.sampling import Choice, Sampling
from brulee.inference.session import open_session
from brulee.models.context import context_length

NAME = "brulee"
MOST_TOKENS = 256  # default number of new tokens, as in the harness's own models
WINDOW = 2048  # context length for models without a limit


class BruleeLM(TemplateLM):  # type: ignore[misc]
    """A base, an adapter or a run as a model of the harness.

    `target`: a run folder, an adapter folder, or a model (bundled, folder, .gguf, Hub id). `base`
    replaces the model that an adapter names. `precision`: auto, float32 or bfloat16.
    """

    def __init__(
        self,
        target: str = "bundled",
        base: str | None = None,
        precision: str = "auto",
        device: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        del batch_size, max_batch_size  # batches are sized by tokens; results are unaffected
        # The harness passes cuda:0 by default.
        where = device if device and (torch.cuda.is_available() or "cuda" not in device) else "auto"
        self._session = open_session(target, where, precision, base)
        self.engine = self._session.engine
        self.tokenizer = self._session.base.tokenizer
        self.backend = self._session.base.kind
        self._rendering = Rendering(self.tokenizer, self._session.encoder.system)
        self._prefix = list(self._session.encoder.prefix_ids)
        limit = context_length(self.engine.model) or WINDOW
        reserved = self._session.attached.reserved if self._session.attached else 0
        self._room = limit - reserved - len(self._prefix)

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token, also used as the first token if there is no BOS token."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The BOS token, or `eot_token_id` if there is none."""
        begins = self.tokenizer.bos_token_id
        return self.eot_token_id if begins is None else int(begins)

    @property
    def tokenizer_name(self) -> str:
        """Part of the key under which the harness caches requests."""
        return str(self._session.base.name).replace("/", "__")

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: object
    ) -> list[int]:
        """Token ids of a text; by default with special tokens unless it begins with BOS."""
        begins = str(self.tokenizer.decode([self.prefix_token_id]))
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(begins)
        return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as in training: up to the next answer, or to go on with the last message.

        Raises InputError for a model without a chat template, or for what the template refuses.
        """
        if not self.tokenizer.chat_template:
            raise InputError(
                f"--apply_chat_template: {self._session.base.name!r} has no chat template; leave "
                "it out."
            )
        going_on = not add_generation_prompt
        return self._rendering(chat_history, "", add_generation_prompt, going_on)

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-probabilities of whole texts, with each token scored once."""
        del disable_tqdm
        texts = [self.tok_encode(r.args[0], add_special_tokens=False) for r in requests]
        begin = [*self._prefix, self.prefix_token_id]
        found = rolling(self.engine, texts, begin, self._room + len(self._prefix))
        return [f.log_probability for f in found]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The generated text after each context, up to the first stop string."""
        del disable_tqdm
        found: dict[int, str] = {}
        for settings in {repr(r.args[1]): r.args[1] for r in requests}.values():
            sampling = _sampling(settings)
            alike = [i for i, r in enumerate(requests) if r.args[1] == settings]
            room = self._room - (sampling.max_new_tokens if self.backend == "causal" else 0)
            if room < 1:
                raise InputError(
                    f"max_gen_toks={sampling.max_new_tokens} leaves no room for a context: this "
                    f"model reads at most {self._room} tokens."
                )
            contexts = [self.tok_encode(requests[i].args[0])[-room:] for i in alike]
            prompts = [[*self._prefix, *context] for context in contexts]
            written = self.engine.complete(prompts, sampling)
            found.update(zip(alike, (w.text for w in written), strict=True))
        return [found[i] for i in range(len(requests))]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: object
    ) -> list[tuple[float, bool]]:
        documents = [self._document(context, tail) for _, context, tail in requests]
        found: list[Likelihood] = self.engine.loglikelihood(documents)
        return [(f.log_probability, f.greedy) for f in found]

    def _document(self, context: list[int], tail: list[int]) -> Encoded:
        """Context and continuation, truncated at the context's beginning if too long."""
        if self.backend == "causal":
            context = [*context, *tail][-(self._room + 1) : -len(tail)]
        return Encoded.ending([*self._prefix, *context, *tail], len(tail))


def _sampling(settings: Mapping[str, Any]) -> Sampling:
    """Sampling from the harness's generation keywords. Raises InputError for an unknown one."""
    given = dict(settings)
    until = given.pop("until", None) or []
    most = next(
        (int(given.pop(k)) for k in ("max_gen_toks", "max_new_tokens", "max_tokens") if k in given),
        MOST_TOKENS,
    )
    temperature = float(given.pop("temperature", None) or 0.0)
    if not given.pop("do_sample", temperature > 0):
        temperature = 0.0
    top_p, beams = float(given.pop("top_p", 1.0)), int(given.pop("num_beams", 1))
    choice: Choice = {
        "length_penalty": float(given.pop("length_penalty", 1.0)),
        "top_k": int(given.pop("top_k", 0)),
        "min_p": float(given.pop("min_p", 0.0)),
        "repetition_penalty": float(given.pop("repetition_penalty", 1.0)),
    }
    if given:
        raise InputError(
            f"generation setting {sorted(given)[0]!r} is not known; valid: until, max_gen_toks, "
            "do_sample, temperature, top_p, top_k, min_p, repetition_penalty, num_beams, "
            "length_penalty."
        )
    stop = (until,) if isinstance(until, str) else tuple(until)
    return Sampling(most, temperature, top_p, 0, stop, beams, **choice)


def register() -> None:
    """Register `--model brulee` with lm-eval in this process."""
    import lm_eval.models  # noqa: F401 (its own are registered where none is yet)

    if NAME not in model_registry:
        register_model(NAME)(BruleeLM)


def main() -> None:
    """The command line of lm-eval with our model, whose errors are printed as one sentence."""
    from lm_eval.__main__ import cli_evaluate

    register()
    try:
        cli_evaluate()
    except BruleeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

"""The loss of a model at the learned positions of a batch, and the head that gives it.

Shapes: `B` rows of a batch, `T` tokens, `N` learned positions, `D` width, `V` vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from brulee.data.batching import Batch
from brulee.models.context import free_length
from brulee.models.fused_decoder import FusedDecoder, fused_decoder
from brulee.models.fused_pair import FusedPair, fused_pair
from brulee.models.head_rows import HeadRows, parted
from brulee.models.held import Held
from brulee.models.kept_logits import logits_at
from brulee.models.linear_cross_entropy import linear_cross_entropy
from brulee.models.pair_parts import stacks_of
from brulee.models.prepared import Prepared
from brulee.models.text_part import body_with_inputs

_TRIED = 4  # tokens on which a head is tested
_TIMES = ("logit_scale", "lm_head_multiplier")  # what configurations say of the logits' factor


@dataclass(frozen=True)
class Head:
    """What a head does to logits z of its linear layer: cap * tanh(z / over / cap), or z / over.

    Granite divides logits by a constant, Cohere multiplies them by one, Gemma 2 caps them. BART and
    its relatives add a bias that is not trained; the linear layers of Phi 2 and GPT-J have one.
    """

    over: float = 1.0
    cap: float | None = None
    bias: torch.Tensor | None = None  # (V)

    def finished(self, logits: torch.Tensor) -> torch.Tensor:
        """The model's logits, from those of the linear layer."""
        logits = logits / self.over
        logits = logits if self.bias is None else logits + self.bias
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    def loss(
        self,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_N: torch.Tensor,
        held: Held | None = None,
        weights_N: torch.Tensor | None = None,
        rows: HeadRows | None = None,
        smoothing: float = 0.0,
    ) -> torch.Tensor:
        """The summed cross-entropy of the model's logits (`linear_cross_entropy`)."""
        if self.over != 1.0:
            hidden_ND = hidden_ND / self.over
        how = (held, self.cap, self.bias, weights_N, rows, smoothing)
        return linear_cross_entropy(hidden_ND, weight_VD, targets_N, *how)


class CompletionLoss:
    """Summed loss of a model at the learned positions of a batch.

    The fused path needs a head that is one plain linear layer on the last hidden state; its logits
    may be scaled and capped. This is tested on a few tokens. Other models run their own forward,
    over packs with `logits_to_keep`, so that they too project the learned positions only. Unless
    `by_ours`, every model runs its own layers: ours do not gather weights that are sharded.
    """

    def __init__(self, model: PreTrainedModel, by_ours: bool = True) -> None:
        self.model = model
        self._pair = bool(model.config.is_encoder_decoder)
        self._head, self.decoder = _ways(model) if by_ours else (_own_head(model), None)
        self.fused = self._head is not None

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Sum of the losses at the batch's N targets, times their weights, an fp32 scalar."""
        if self.decoder is not None and batch.packed:
            hidden_ND = self.decoder(batch)
            how = (batch.weights, batch.smoothing)
            return self._of_hidden(hidden_ND, batch.targets, self.decoder.held, *how)
        if self._head is not None and not self._pair:
            hidden_BTD = body_with_inputs(self.model)(
                **batch.inputs, use_cache=False
            ).last_hidden_state
            weight_VD = self.model.get_output_embeddings().weight
            hidden_ND = _as_held(hidden_BTD.flatten(0, 1)[batch.positions], weight_VD)
            how = (batch.weights, batch.smoothing)
            return self._of_hidden(hidden_ND, batch.targets, None, *how)
        if batch.packed:
            logits_NV = logits_at(self.model, batch.positions, **batch.inputs)
        else:
            logits_BTV = self.model(**batch.inputs, use_cache=False).logits
            logits_NV = logits_BTV.flatten(0, 1)[batch.positions]
        losses_N = F.cross_entropy(
            logits_NV.float(), batch.targets, reduction="none", label_smoothing=batch.smoothing
        )
        return (losses_N if batch.weights is None else losses_N * batch.weights).sum()

    def of_prepared(self, prepared: Prepared, smoothing: float = 0.0) -> torch.Tensor:
        """The same for a pass that the decoder has prepared; negative targets are ignored."""
        assert isinstance(self.decoder, FusedDecoder), "prepared by it"
        how = (self.decoder.held, None, smoothing)
        return self._of_hidden(self.decoder.hidden(prepared), prepared.targets, *how)

    def _of_hidden(
        self,
        hidden_ND: torch.Tensor,
        targets_N: torch.Tensor,
        held: Held | None,
        weights_N: torch.Tensor | None,
        smoothing: float,
    ) -> torch.Tensor:
        assert self._head is not None, "what the hidden states are for"
        head, rows = parted(self.model.get_output_embeddings())
        how = (held, weights_N, rows, smoothing)
        return self._head.loss(hidden_ND, head.weight, targets_N, *how)


def _ways(model: PreTrainedModel) -> tuple[Head | None, FusedDecoder | FusedPair | None]:
    """The head, if it is a known kind, and a fused pass that computes its input, if there is one.

    For an encoder-decoder both or neither: its form says where the head's input is.
    """
    if model.config.is_encoder_decoder:
        pair = fused_pair(model)
        head = None if pair is None else _head_of_pair(model)
        return head, None if head is None else pair
    head = _head_of(model)
    return head, None if head is None else fused_decoder(model)


def _own_head(model: PreTrainedModel) -> Head | None:
    """The head over a model's own layers; of an encoder-decoder's it is not known what to read."""
    return None if model.config.is_encoder_decoder else _head_of(model)


def _head_of_pair(model: PreTrainedModel) -> Head | None:
    """Test for T5's head, divided by sqrt(D) if tied to the embedding, and BART's with a bias."""
    head = model.get_output_embeddings()
    if type(parted(head)[0]) is not nn.Linear or head.bias is not None:
        return None
    ids = torch.arange(free_length(model, _TRIED), device=head.weight.device).unsqueeze(0)
    training = model.training
    model.eval()
    with torch.no_grad():
        encoder, decoder = stacks_of(model)
        given = encoder(input_ids=ids).last_hidden_state
        hidden = decoder(input_ids=ids, encoder_hidden_states=given, use_cache=False)
        expected = model(input_ids=ids, decoder_input_ids=ids, use_cache=False).logits.float()
        logits = head(_as_held(hidden.last_hidden_state, head.weight)).float()
    model.train(training)
    overs, bias = (1.0, math.sqrt(head.weight.shape[1])), _bias_of(model)
    heads = (Head(over, bias=bias) for over in overs)
    return next((found for found in heads if _alike(found.finished(logits), expected)), None)


def _bias_of(model: PreTrainedModel) -> torch.Tensor | None:
    """The bias that is added to the logits; None if there is none or it is zero."""
    bias: torch.Tensor | None = getattr(model, "final_logits_bias", None)
    return None if bias is None or not bool(bias.any()) else bias.detach().flatten()


def _alike(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return float((found - expected).norm() / expected.norm()) <= 1e-2


def _head_of(model: PreTrainedModel) -> Head | None:
    head = model.get_output_embeddings()
    if type(parted(head)[0]) is not nn.Linear or body_with_inputs(model) is model:
        return None
    config = model.config.get_text_config()
    said = (getattr(config, name, None) for name in _TIMES)
    times = next((float(one) for one in said if one and isinstance(one, float | int)), 1.0)
    over = float(getattr(config, "logits_scaling", None) or 1.0) / times
    if over != 1.0 and head.bias is not None:
        return None  # the model divides the bias too; `Head` does not
    found = Head(over, getattr(config, "final_logit_softcapping", None))
    ids = torch.arange(free_length(model, _TRIED), device=head.weight.device).unsqueeze(0)
    training = model.training
    model.eval()
    with torch.no_grad():
        hidden = body_with_inputs(model)(input_ids=ids, use_cache=False).last_hidden_state
        expected = model(input_ids=ids, use_cache=False).logits
        # Electra and RemBERT put another map before the linear layer, which may change the width.
        fits = hidden.shape[-1] == head.weight.shape[1]
        given = found.finished(head(_as_held(hidden, head.weight))).float() if fits else None
    model.train(training)
    if given is None:
        return None
    found = replace(found, bias=head.bias)
    return found if torch.allclose(given, expected.float(), rtol=1e-3, atol=1e-3) else None


def _as_held(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Hidden states in the dtype of the head, as Mamba casts its fp32 residuals for a bf16 head."""
    return hidden.to(weight.dtype) if hidden.dtype.itemsize > weight.dtype.itemsize else hidden

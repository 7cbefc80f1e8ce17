"""Models of known shapes with random weights, for measurements that need larger models.

    python benchmarks/shapes.py 1b FOLDER [--device cuda]

Llama models, and some of the T5 and BART families, in transformers' format, in bfloat16, from a
fixed seed; an existing folder is left alone. Weights have Llama's standard deviation of 0.02 (in
encoder-decoders only the head's): logits then have one of 0.02 times the root of the width, and the
first loss is slightly above that of a uniform guess (`1b`: 11.8 + 0.4). The tokenizer is a
placeholder: documents come as token ids.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

SEED, SPREAD = 0, 0.02
PAD, END, UNKNOWN = SPECIAL = ("<pad>", "</s>", "<unk>")
# `135m` is SmolLM2-135M, the bundled model, `1b` Llama-3.2-1B without RoPE scaling, `7b`
# Llama-2-7B; `tiny` has the bundled model's vocabulary, so that it takes the same conversations.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "vocab_size": 49_152,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8_192,
    },
    "135m": {
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1_536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8_192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
        "tie_word_embeddings": True,
    },
    "1b": {
        "vocab_size": 128_256,
        "hidden_size": 2_048,
        "intermediate_size": 8_192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 8_192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
        "tie_word_embeddings": True,
    },
    "7b": {
        "vocab_size": 32_000,
        "hidden_size": 4_096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4_096,
    },
}
# `t5` is FLAN-T5 base (T5 1.1 base), `bart` is BART base.
PAIR_SHAPES: dict[str, dict[str, Any]] = {
    "t5": {
        "model_type": "t5",
        "vocab_size": 32_128,
        "d_model": 768,
        "d_ff": 2_048,
        "num_layers": 12,
        "num_heads": 12,
        "d_kv": 64,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "decoder_start_token_id": 0,
    },
    # T5-small, with the bundled model's vocabulary.
    "t5-small": {
        "model_type": "t5",
        "vocab_size": 49_152,
        "d_model": 512,
        "d_ff": 2_048,
        "num_layers": 6,
        "num_heads": 8,
        "d_kv": 64,
        "decoder_start_token_id": 0,
    },
    "t5-tiny": {
        "model_type": "t5",
        "vocab_size": 32_128,
        "d_model": 128,
        "d_ff": 256,
        "num_layers": 2,
        "num_heads": 2,
        "d_kv": 64,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "decoder_start_token_id": 0,
    },
    "bart": {
        "model_type": "bart",
        "vocab_size": 50_265,
        "d_model": 768,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "encoder_attention_heads": 12,
        "decoder_attention_heads": 12,
        "encoder_ffn_dim": 3_072,
        "decoder_ffn_dim": 3_072,
        "max_position_embeddings": 1_024,
        "decoder_start_token_id": 1,
    },
    "bart-tiny": {
        "model_type": "bart",
        "vocab_size": 50_265,
        "d_model": 128,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 256,
        "decoder_ffn_dim": 256,
        "max_position_embeddings": 1_024,
        "decoder_start_token_id": 1,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*SHAPES, *PAIR_SHAPES])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cpu", help="where the weights are drawn")
    arguments = parser.parse_args()
    write(arguments.name, arguments.folder, arguments.device)


def write(name: str, folder: Path, device: str) -> None:
    """Draw a shape's weights and save them atomically, so that no partial model is left."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    kind: Any = AutoModelForSeq2SeqLM if name in PAIR_SHAPES else AutoModelForCausalLM
    with torch.device(device):
        model = kind.from_config(config(name), dtype=torch.bfloat16)
        if name in PAIR_SHAPES:  # T5 initialises its head with its embeddings' std
            torch.nn.init.normal_(model.lm_head.weight, std=SPREAD)
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        whole = Path(aside) / name
        model.save_pretrained(whole)
        _tokenizer().save_pretrained(whole)
        whole.rename(folder)


def config(name: str) -> Any:
    """The transformers configuration of a shape."""
    from transformers import AutoConfig, LlamaConfig

    if name in PAIR_SHAPES:
        return AutoConfig.for_model(**PAIR_SHAPES[name], pad_token_id=0, eos_token_id=1)
    ids = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
    return LlamaConfig(**SHAPES[name], **ids, initializer_range=SPREAD, rms_norm_eps=1e-5)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {word: at for at, word in enumerate(SPECIAL)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token=UNKNOWN)),
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
    )


if __name__ == "__main__":
    main()

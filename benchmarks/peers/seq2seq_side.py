"""transformers' side of versus_trl.py for encoder-decoders: Seq2SeqTrainer with PEFT.

SFTTrainer does not support them; FLAN-T5 is usually tuned this way.
"""

from __future__ import annotations

import peft
import torch
import transformers
from datasets import Dataset
from dropping import drop_share
from sft import Clock, finish, job, reset_peak, settings
from usage import usage


def main() -> None:
    given = job()
    tokenizer = transformers.AutoTokenizer.from_pretrained(given["model"])
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        given["model"], dtype=getattr(torch, given["peer_dtype"])
    )
    drop_share(model, given["dropout"])
    if given["adapter"]:
        model = peft.PeftModel.from_pretrained(model, given["adapter"], is_trainable=True)
    cuda = given["device"] == "cuda"
    clock = Clock(cuda)
    trainer = transformers.Seq2SeqTrainer(
        model=model,
        args=transformers.Seq2SeqTrainingArguments(**settings(given)),
        train_dataset=Dataset.from_list([row(*document) for document in given["documents"]]),
        data_collator=transformers.DataCollatorForSeq2Seq(tokenizer, model),
        callbacks=[clock],
    )
    reset_peak(cuda)
    before = usage()
    trainer.train()
    finish(trainer, clock, given, usage(before), ("peft",))


def row(ids: list[int], learned: int) -> dict[str, list[int]]:
    """A document as input and labels; the collator excludes label padding from the loss."""
    read = ids[: len(ids) - learned]
    return {"input_ids": read, "attention_mask": [1] * len(read), "labels": ids[-learned:]}


if __name__ == "__main__":
    main()

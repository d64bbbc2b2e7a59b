"""What the real vLLM serves: SmolLM2, and tiny models with random weights."""

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from crowdselect_core.sample.variants import find_gguf, load_model, load_tokenizer, write_variants

CONTEXT = 512


def make_smollm2(folder: Path) -> Path:
    """Write SmolLM2-135M-Instruct."""
    gguf = find_gguf()
    model, tokenizer = load_model(gguf, torch.bfloat16), load_tokenizer(gguf)
    (place,) = write_variants(model, tokenizer, folder, [None])
    return place


def make_chat(folder: Path) -> Path:
    """Write a chat model that babbles."""
    return _save(LlamaForCausalLM, folder)


def make_classifier(folder: Path) -> Path:
    """Write a sequence classifier with one label, whose logits are spread widely."""
    return _save(LlamaForSequenceClassification, folder, num_labels=1)


def _save(kind: Any, folder: Path, **options: Any) -> Path:
    tokenizer = load_tokenizer(find_gguf())
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,  # vLLM's kernels know no smaller one
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

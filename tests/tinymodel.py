"""A tiny random Llama with SmolLM2's tokenizer, as a folder: behaviour without the cost."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest


def smollm_tokenizer() -> Any:
    """SmolLM2's tokenizer, a copy that may be changed."""
    return copy.deepcopy(_smollm_tokenizer())


@cache
def _smollm_tokenizer() -> Any:
    """Load it once: reading it from the GGUF file takes seconds."""
    pytest.importorskip("gguf")
    pytest.importorskip("transformers")
    from crowdselect_core.sample.variants import find_gguf, load_tokenizer

    return load_tokenizer(find_gguf())


def write_tiny(folder: Path, seed: int = 0, **keys: Any) -> Path:
    """Write the model in float32; the same bytes each time, others with another seed."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = smollm_tokenizer()
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.5,  # far from even odds: no near ties
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(**{**sizes, **keys})
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

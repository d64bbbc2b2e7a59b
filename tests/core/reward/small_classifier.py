"""Small reward models for the tests: tiny Llama classifiers with SmolLM2's tokenizer."""

import random
from pathlib import Path
from typing import Any

import torch
from tinymodel import smollm_tokenizer
from transformers import LlamaConfig, LlamaForSequenceClassification

from crowdselect_core.chat import Message
from crowdselect_core.reward.base import Item, Score, Scorer

STEPS, ROWS = 100, 48
LITTLE = ["the", "of", "a", "that", "of", "the", "is", "a", "of", "and", "the", "to"]
RUDE = (
    "I do not know.", "I do not care.", "Ask somebody else.", "Go away.", "Whatever.",
    "I will not answer this.", "No.", "That is a silly question.",
)  # fmt: skip


def content_words(tokenizer: Any) -> list[str]:
    """Words of four letters or more that are one token each: thousands of them."""
    texts = [tokenizer.decode([i]) for i in range(200, 12_000)]
    words = sorted({t.strip() for t in texts if t.startswith(" ") and t[1:].isalpha()})
    return [word for word in words if len(word) > 3 and word.islower()]


def better(rng: random.Random, words: list[str]) -> str:
    """Words that differ, with little ones between them, as sentences have them."""
    parts = []
    for _ in range(rng.randint(2, 6)):
        parts += [*rng.sample(LITTLE, rng.randint(0, 2)), *rng.sample(words, rng.randint(1, 3))]
    return " ".join(parts).capitalize() + "."


def worse(rng: random.Random, words: list[str]) -> str:
    """One word over and over, little words in any order, or rudeness."""
    manner = rng.randrange(3)
    if manner == 0:
        return " ".join([rng.choice(words)] * rng.randint(4, 24))
    if manner == 1:
        some = rng.choices(LITTLE, k=rng.randint(7, 13)) + rng.sample(words, rng.randint(0, 2))
        rng.shuffle(some)
        return " ".join(some) + "."
    return " ".join(rng.sample(RUDE, rng.randint(1, 4)))


def tiny_config(tokenizer: Any, **keys: Any) -> LlamaConfig:
    """A Llama of two layers; heads of 32, which vLLM needs."""
    sizes = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048,
        "num_labels": 1, "pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer),
    }  # fmt: skip
    return LlamaConfig(**{**sizes, **keys})


def pair_ids(tokenizer: Any, question: str, text: str) -> list[int]:
    """Token ids of a pair."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
    return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))


def write_random(folder: Path, **keys: Any) -> Path:
    """Write an untrained classifier."""
    torch.manual_seed(0)
    tokenizer = smollm_tokenizer()
    LlamaForSequenceClassification(tiny_config(tokenizer, **keys)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_trained(folder: Path) -> Path:
    """Train a classifier on pairs of answers for some seconds, and write it."""
    torch.manual_seed(0)
    rng = random.Random(0)
    tokenizer = smollm_tokenizer()
    model = LlamaForSequenceClassification(tiny_config(tokenizer))
    words = content_words(tokenizer)
    # Sparse: a step touches the words of its texts alone, which makes it ten times as fast.
    embedding = model.model.embed_tokens
    embedding.sparse = True
    others = [p for p in model.parameters() if p is not embedding.weight]
    optimizers = [
        torch.optim.SparseAdam([embedding.weight], lr=2e-3),
        torch.optim.Adam(others, lr=2e-3),
    ]
    for _ in range(STEPS):
        question = f"What about {rng.choice(words)}?"
        texts = [make(rng, words) for make in (better, worse) for _ in range(ROWS // 2)]
        encoded = [{"input_ids": pair_ids(tokenizer, question, text)} for text in texts]
        batch = tokenizer.pad(encoded, padding_side="right", return_tensors="pt")
        high, low = model(**batch).logits[:, 0].split(ROWS // 2)
        loss = -torch.nn.functional.logsigmoid(high - low).mean()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def item(text: str, number: int = 0, question: str = "What is bread?") -> Item:
    """An answer to be scored."""
    return Item(number.to_bytes(16, "big"), (Message(role="user", content=question),), text)


def scored(scorer: Scorer, items: list[Item]) -> list[Score]:
    """Score items and put what comes into their order."""
    came: dict[bytes, Score] = {}
    scorer.run(iter(items), lambda score: came.update({score.key: score}))
    return [came[one.key] for one in items]

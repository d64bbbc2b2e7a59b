"""The one small chat model behind the sample: answering with it, scoring with it.

`variants.py` rounds its weights, which grades it; seeded noise makes greedy decoding sample; the
unrounded model scores. Only `build.py` imports this module, because torch is imported here.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import torch

from crowdselect_core.batches import by_length
from crowdselect_core.generate.base import Message
from crowdselect_core.generate.config import SamplingConfig
from crowdselect_core.generate.decode import Prompt, end_tokens, settings
from crowdselect_core.generate.decode import generate as decode
from crowdselect_core.generate.templates import padding_id, prompt_ids, text_ids
from crowdselect_core.likelihood import sequence_logprobs
from crowdselect_core.reward.likelihood import DECIMALS as DECIMALS
from crowdselect_core.sample.variants import GROUP as GROUP
from crowdselect_core.sample.variants import find_gguf as find_gguf
from crowdselect_core.sample.variants import linear_weights as linear_weights
from crowdselect_core.sample.variants import load_model as load_model
from crowdselect_core.sample.variants import load_tokenizer as load_tokenizer
from crowdselect_core.sample.variants import round_to_bits as round_to_bits

MAX_NEW_TOKENS = 72
SEED = 20250303
GENERATE_BATCH = 48
SCORE_BATCH = 4096  # padded tokens
# bf16 generates about twice as fast as fp32 where the processor has it. Scores are taken in fp32:
# there padding moves a score by about 1e-6, in bf16 by up to 0.1.
GENERATE_DTYPE = torch.bfloat16
SCORE_DTYPE = torch.float32


class Answer(TypedDict):
    """One answer; `pmi` is None until it is scored, and stays None for an empty answer."""

    content: str
    finish_reason: str
    pmi: float | None


def chat_ids(tokenizer: Any, instruction: str) -> list[int]:
    """Token ids of one user turn up to the point where the assistant speaks."""
    return prompt_ids(tokenizer, [Message(role="user", content=instruction)], {})


def generate(
    model: Any, tokenizer: Any, instructions: Sequence[str], noise_keys: Sequence[str], temp: float
) -> list[Answer]:
    """Answer every instruction, in their order; temperature 0 is greedy.

    `noise_keys` name the random stream of each instruction and matter only when sampling.
    """
    stops = {*end_tokens(model, tokenizer), tokenizer.convert_tokens_to_ids("<|endoftext|>")}
    model.generation_config = settings(sorted(stops))
    sampling = SamplingConfig(temperature=temp, max_tokens=MAX_NEW_TOKENS)
    prompts = [
        Prompt(key.encode(), chat_ids(tokenizer, instruction), SEED, MAX_NEW_TOKENS)
        for instruction, key in zip(instructions, noise_keys, strict=True)
    ]
    answers: dict[int, Answer] = {}
    for batch in by_length([len(p.ids) for p in prompts], rows=GENERATE_BATCH):
        decoded = decode(model, tokenizer, [prompts[i] for i in batch], sampling)
        for i, one in zip(batch, decoded, strict=True):
            text, reason = one.text.strip(), one.finish_reason
            answers[i] = {"content": text, "finish_reason": reason, "pmi": None}
    return [answers[i] for i in range(len(prompts))]


def score(
    model: Any, tokenizer: Any, instructions: Sequence[str], answers: Sequence[Answer]
) -> list[Answer]:
    """Fill in `pmi`, as `LikelihoodScorer` defines it; an empty answer has none."""
    texts = [text_ids(tokenizer, answer["content"]) for answer in answers]
    present = [i for i, ids in enumerate(texts) if ids]
    asked = [chat_ids(tokenizer, instructions[i]) for i in present]
    unasked = [chat_ids(tokenizer, "")] * len(present)
    with_it, without = (
        sequence_logprobs(
            model,
            prefixes,
            [texts[i] for i in present],
            pad_id=padding_id(tokenizer),
            batch_tokens=SCORE_BATCH,
        )
        for prefixes in (asked, unasked)
    )
    scored: list[Answer] = [{**answer, "pmi": None} for answer in answers]
    for i, a, u in zip(present, with_it, without, strict=True):
        scored[i]["pmi"] = round(a.mean - u.mean, DECIMALS)
    return scored

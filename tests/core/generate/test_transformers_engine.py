"""The engine on a tiny random model, and one question to the real SmolLM2."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tinymodel import smollm_tokenizer, write_tiny

from crowdselect_core.chat import Message
from crowdselect_core.config.engine import SamplingConfig, TransformersEngineConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Answer, EngineDown, Failure, Request

pytestmark = pytest.mark.model
torch = pytest.importorskip("torch")
from crowdselect_core.generate.transformers.engine import TransformersEngine  # noqa: E402

WORDS = ["tides", "bread and butter", "a lease " * 9, "prime numbers", "x", "France " * 20]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


def engine(model: Path, *, batch_size: int = 4, **sampling: Any) -> TransformersEngine:
    keys = {"temperature": 1.0, "max_tokens": 12, **sampling}
    own = {"max_model_len": keys.pop("max_model_len", None)}
    config = TransformersEngineConfig(
        kind="transformers", model=str(model), dtype="float32", device="cpu",
        batch_size=batch_size, **own,
    )  # fmt: skip
    return TransformersEngine("tiny", config, SamplingConfig(**keys))


def request(text: str, seed: int | None = 0) -> Request:
    key = text.encode()[:16].ljust(16, b".")
    return Request(key, (Message(role="user", content=text),), seed)


def answers(made: TransformersEngine, requests: Sequence[Request]) -> dict[bytes, Answer]:
    found: list[Answer] = []
    made.run(iter(requests), found.append)
    assert len(found) == len(requests)
    return {answer.key: answer for answer in found}


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.0},
        {"temperature": 1.5},
        {"top_k": 20, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.3},
        {"presence_penalty": 1.0, "frequency_penalty": 0.5},
    ],
)
def test_an_answer_depends_neither_on_the_batch_nor_on_the_order(
    tiny: Path, sampling: dict[str, Any]
) -> None:
    requests = [request(text) for text in WORDS]
    together = answers(engine(tiny, **sampling), requests)
    assert answers(engine(tiny, **sampling), requests[::-1]) == together
    assert answers(engine(tiny, batch_size=1, **sampling), requests) == together
    assert all(a.text and a.error is None for a in together.values())
    assert len({a.text for a in together.values()}) == len(WORDS)


def test_a_seed_decides_the_answer(tiny: Path) -> None:
    made = engine(tiny)
    first = answers(made, [request("bread", seed=1)])
    assert answers(made, [request("bread", seed=1)]) == first
    assert answers(made, [request("bread", seed=2)]) != first
    unseeded = [answers(made, [request("bread", None)]) for _ in range(2)]
    assert unseeded[0] != unseeded[1]


def test_noise_draws_in_proportion_to_the_probabilities(tiny: Path) -> None:
    # P = (0.6, 0.3, 0.1): 2,000 draws are within 4 standard deviations, 4 * sqrt(P(1-P)/2000)
    from crowdselect_core.generate.transformers.sampling import SeededNoise, stream

    chances = torch.tensor([0.6, 0.3, 0.1])
    noise = SeededNoise([stream(5, str(i).encode()) for i in range(2000)])
    drawn = noise(torch.zeros(1), chances.log().repeat(2000, 1)).argmax(1)
    shares = torch.bincount(drawn, minlength=3) / 2000
    assert shares.tolist() == pytest.approx(chances.tolist(), abs=0.044)


def likeliest(folder: Path, text: str, most: int) -> tuple[list[int], list[int]]:
    """Take the argmax step by step, without cache or padding: the prompt's and the new tokens."""
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), smollm_tokenizer()
    chat = [{"role": "user", "content": text}]
    written = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    new: list[int] = []
    while len(new) < most and tokenizer.eos_token_id not in new:
        with torch.no_grad():
            new.append(int(model(torch.tensor([ids + new])).logits[0, -1].argmax()))
    return ids, new


def test_greedy_is_the_argmax_of_the_model_step_by_step(tiny: Path) -> None:
    ids, new = likeliest(tiny, "tides", 12)
    (answer,) = answers(engine(tiny, temperature=0.0), [request("tides")]).values()
    assert answer.text == smollm_tokenizer().decode(new, skip_special_tokens=True)
    assert (answer.prompt_tokens, answer.completion_tokens) == (len(ids), len(new))
    assert answer.finish_reason == "length"


def test_penalties_by_hand() -> None:
    from crowdselect_core.generate.transformers.sampling import OccurrencePenalties

    # Row: prompt 0, answered 1 1. Token 1 twice: 5 - 2 * 0.5 - 1 = 3; token 0 is the prompt's.
    found = OccurrencePenalties(1.0, 0.5, [2])(torch.tensor([[0, 1, 1]]), torch.full((1, 3), 5.0))
    assert found.tolist() == [[5.0, 3.0, 5.0]]


def test_a_stop_string_ends_the_answer_and_is_cut_off(tiny: Path) -> None:
    (whole,) = answers(engine(tiny, max_tokens=24), [request("tides")]).values()
    assert whole.text
    assert whole.completion_tokens
    stop = whole.text[10:14]
    batch = [request("tides"), request("bread")]
    stopped = answers(engine(tiny, max_tokens=24, stop=[stop]), batch)[request("tides").key]
    assert stopped.text == whole.text[: whole.text.find(stop)]
    assert stopped.finish_reason == "stop"
    assert stopped.completion_tokens
    assert stopped.completion_tokens < whole.completion_tokens


def test_any_of_the_models_end_tokens_ends_the_answer(tiny: Path, tmp_path: Path) -> None:
    _, new = likeliest(tiny, "tides", 12)
    end = next(n for n in range(2, 12) if new[n] not in new[:n])
    ends = [new[end], smollm_tokenizer().eos_token_id]
    copy = write_tiny(tmp_path / "ends", eos_token_id=ends)
    (ended,) = answers(engine(copy, temperature=0.0), [request("tides")]).values()
    assert ended.finish_reason == "stop"
    assert ended.completion_tokens == end + 1  # the end token included
    assert ended.text == smollm_tokenizer().decode(new[:end])


def test_the_authors_sampling_does_not_leak_in(tiny: Path, tmp_path: Path) -> None:
    copy = write_tiny(tmp_path / "opinionated")
    settings = {"do_sample": True, "repetition_penalty": 9.0, "bad_words_ids": [[30]], "top_k": 1}
    (copy / "generation_config.json").write_text(json.dumps(settings))
    asked = [request(text) for text in WORDS[:2]]
    assert answers(engine(copy), asked) == answers(engine(tiny), asked)


def test_a_prompt_that_fills_the_context_is_told(tiny: Path) -> None:
    prompts = [request("word " * 300), request("tides")]
    found = answers(engine(tiny), prompts)
    long = found[prompts[0].key]
    assert long.text is None
    assert long.failure is Failure.ROW
    assert str(long.error).startswith("prompt_too_long: ")
    assert found[prompts[1].key].text


def test_the_context_bounds_an_answer_and_not_those_beside_it(tmp_path: Path) -> None:
    # Learned positions: a position past the last one would be an index error.
    import transformers

    tokenizer = smollm_tokenizer()
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_positions=60, n_embd=32, n_layer=1, n_head=2,
        initializer_range=0.5, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    requests = [request("tides"), request("some bread and butter and jam and more")]
    found = answers(engine(tmp_path, max_tokens=500), requests)
    alone = answers(engine(tmp_path, max_tokens=500, batch_size=1), requests)
    for answer in found.values():
        assert answer.finish_reason == "length"
        assert (answer.prompt_tokens or 0) + (answer.completion_tokens or 0) == 60
    assert found == alone


def test_a_template_that_refuses_a_role_fails_the_row_alone(tmp_path: Path) -> None:
    copy = write_tiny(tmp_path / "nosystem")
    (copy / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}{{ m.content }}{% endfor %}"
    )
    refused = Request(
        b"r" * 16, (Message(role="system", content="Be kind"), Message(role="user", content="Hi"))
    )
    found = answers(engine(copy), [refused, request("Hi")])
    assert found[refused.key].error == "template: System role not supported"
    assert found[refused.key].failure is Failure.ROW
    assert found[request("Hi").key].error is None


def test_requests_are_taken_as_they_are_needed(tiny: Path) -> None:
    taken = 0

    def endless() -> Iterator[Request]:
        nonlocal taken
        while True:
            taken += 1
            yield request(f"question {taken}")

    class Enough(Exception):
        pass

    def done(answer: Answer) -> None:
        raise Enough

    with pytest.raises(Enough):
        engine(tiny, batch_size=2, max_tokens=2).run(endless(), done)
    assert taken == 16  # 8 batches of 2


@pytest.mark.parametrize("fits", [2, 0])
def test_a_batch_that_does_not_fit_is_halved(tiny: Path, fits: int) -> None:
    from torch.nn.modules.module import register_module_forward_pre_hook

    requests = [request(text) for text in WORDS]
    expected = answers(engine(tiny), requests)

    def limited(module: Any, args: Any) -> None:
        if isinstance(module, torch.nn.Embedding) and args[0].shape[0] > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = register_module_forward_pre_hook(limited)
    try:
        if fits:
            assert answers(engine(tiny), requests) == expected
        else:
            with pytest.raises(EngineDown, match="lower max_tokens"):
                answers(engine(tiny), requests)
    finally:
        handle.remove()


def test_check_finds_what_is_wrong_without_weights(tiny: Path, tmp_path: Path) -> None:
    engine(tiny).check()
    with pytest.raises(ConfigError, match=r"max_model_len is 999, .* reads 256 tokens at most"):
        engine(tiny, max_model_len=999).check()
    with pytest.raises(ConfigError, match="does not exist"):
        engine(tmp_path / "nothing").check()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"config\.json"):
        engine(tmp_path / "empty").check()
    (tmp_path / "empty" / "config.json").write_text((tiny / "config.json").read_text())
    with pytest.raises(ConfigError, match="no \\*\\.safetensors"):
        engine(tmp_path / "empty").check()
    (tmp_path / "empty" / "model.safetensors").touch()
    with pytest.raises(ConfigError, match="expected a folder or hub id with tokenizer files"):
        engine(tmp_path / "empty").check()
    none = TransformersEngineConfig(kind="transformers")
    with pytest.raises(ConfigError, match="needs model"):
        TransformersEngine("tiny", none, SamplingConfig())
    reserved = TransformersEngineConfig(kind="transformers", model=str(tiny))
    with pytest.raises(ConfigError, match="chat_template_kwargs holds tokenize"):
        TransformersEngine("tiny", reserved, SamplingConfig(), {"tokenize": True}).check()


def test_an_unknown_hub_id_offline_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="crowd model 'tiny': model 'nobody/nothing'"):
        engine(Path("nobody/nothing")).check()


def test_a_closed_engine_can_run_again(tiny: Path) -> None:
    made = engine(tiny)
    first = answers(made, [request("bread")])
    made.close()
    assert answers(made, [request("bread")]) == first


def test_smollm2_knows_the_capital_of_france(tmp_path: Path) -> None:
    from crowdselect_core.sample.variants import find_gguf, load_model, write_variants

    model = load_model(find_gguf(), torch.bfloat16)
    (folder,) = write_variants(model, smollm_tokenizer(), tmp_path, [None])
    short = request("What is the capital of France?")
    long = request("Write one sentence about the history of bread. " * 8)
    made = engine(folder, temperature=0.0, max_tokens=16)
    found = answers(made, [long, short])
    assert "Paris" in str(found[short.key].text)
    assert found[short.key].finish_reason == "stop"
    assert answers(made, [short])[short.key] == found[short.key]
    assert answers(made, [long])[long.key] == found[long.key]

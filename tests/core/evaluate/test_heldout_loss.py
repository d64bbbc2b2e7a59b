"""Held-out loss: against a plain loop over transformers, and its aggregates by hand."""

from pathlib import Path
from typing import Any

import pytest
from tinymodel import smollm_tokenizer, write_tiny

from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate import heldout_loss, heldout_results
from crowdselect_core.evaluate.heldout_loss import HeldOutAnswer, LossModel
from crowdselect_core.evaluate.heldout_results import Losses, RowLoss
from crowdselect_core.store.artifacts import Store

USER = {"role": "user", "content": "Name an animal"}
ROWS = [
    HeldOutAnswer("a", (USER,), "ant bee cat"),
    HeldOutAnswer("b", ({"role": "system", "content": "Be brief."}, USER), "dog"),
    HeldOutAnswer(
        "c", (USER, {"role": "assistant", "content": "eel"}, {"role": "user", "content": "More"}),
        "\n\nfox gnu hen\n",
    ),
    HeldOutAnswer("d", (USER,), "ant bee cat"),  # the same text as a
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("loss") / "model")


def quiet(done: int, total: int) -> None:
    """No progress is shown."""


def plain_losses(folder: Path, rows: list[HeldOutAnswer]) -> dict[str, RowLoss]:
    """One row after the other, by the model's own cross-entropy over the answer's labels."""
    import torch
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), smollm_tokenizer()
    found = {}
    for row in rows:
        before = tokenizer.apply_chat_template(
            list(row.messages), tokenize=False, add_generation_prompt=True
        )
        prompt = tokenizer.encode(before, add_special_tokens=False)
        answer = tokenizer.encode(f"{row.answer}<|im_end|>", add_special_tokens=False)
        labels = torch.tensor([[-100] * len(prompt) + answer])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([prompt + answer]), labels=labels).loss
        found[row.row_id] = RowLoss(float(loss) * len(answer), len(answer))
    return found


@pytest.mark.model
def test_losses_are_those_of_a_plain_loop(tiny: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    model = LossModel("tiny", "sha256:1", str(tiny), device="cpu")
    found = heldout_loss.row_losses(store, model, ROWS, 256, quiet)
    expected = plain_losses(tiny, ROWS)
    assert list(found.by_row) == ["a", "b", "c", "d"]
    assert found.by_row["a"] == found.by_row["d"]
    for row, loss in expected.items():
        assert found.by_row[row].tokens == loss.tokens
        assert found.by_row[row].nats == pytest.approx(loss.nats, abs=1e-5 * loss.tokens)


@pytest.mark.model
def test_a_stopped_run_goes_on_and_a_long_row_is_counted(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"))
    model = LossModel("tiny", "sha256:1", str(tiny), device="cpu")
    rows = [*ROWS, HeldOutAnswer("long", (USER,), "ant " * 300)]
    monkeypatch.setattr(heldout_loss, "CPU_TOKENS", 1)  # one row a batch
    said: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        said.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        heldout_loss.row_losses(store, model, rows, 2_048, stop)
    said.clear()
    found = heldout_loss.row_losses(store, model, rows, 2_048, lambda *told: said.append(told))
    # Of three different texts one was computed before the stop; a and d are one text.
    assert said[0][0] == 4 - len(said[1:])
    assert len(said[1:]) < 3
    assert (list(found.too_long), found.max_length) == (["long"], 256)  # the model's positions
    monkeypatch.setattr("crowdselect_core.models.causal_lm.Source.load", None)  # nothing is loaded
    assert heldout_loss.row_losses(store, model, rows, 2_048, quiet) == found


@pytest.mark.model
def test_an_adapter_counts(tiny: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base: Any = AutoModelForCausalLM.from_pretrained(tiny)
    torch.manual_seed(0)
    adapted = get_peft_model(
        base, LoraConfig(r=2, lora_alpha=128, target_modules="all-linear", init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    store = Store(str(tmp_path / "store"))
    adapter = LossModel(
        "adapter", "sha256:2", str(tiny), adapter=tmp_path / "adapter", device="cpu"
    )
    found = heldout_loss.row_losses(store, adapter, ROWS, 256, quiet).by_row
    expected = plain_losses(tmp_path / "merged", ROWS)
    unadapted = plain_losses(tiny, ROWS)
    for row, loss in found.items():
        assert loss.nats == pytest.approx(expected[row].nats, abs=1e-3)
        assert abs(loss.nats - unadapted[row].nats) > 0.1


def test_aggregates() -> None:
    base = Losses({"a": RowLoss(6.0, 2), "b": RowLoss(4.0, 4), "c": RowLoss(2.0, 2)})
    better = Losses({"a": RowLoss(3.0, 2), "b": RowLoss(3.0, 4), "c": RowLoss(2.0, 2)})
    outcome = heldout_results.evaluate({"base": base, "trained": better}, seed=0)
    found = {(r.metric, r.model): r for r in outcome.results}
    # By token (6 + 4 + 2) / 8 and (3 + 3 + 2) / 8; by row (3 + 1 + 1) / 3 and (1.5 + .75 + 1) / 3.
    assert found["loss", "base"].value == pytest.approx(1.5)
    assert found["loss", "trained"].value == pytest.approx(1.0)
    assert found["loss_per_row", "base"].value == pytest.approx(5 / 3)
    assert found["loss_per_row", "trained"].value == pytest.approx(3.25 / 3)
    assert {r.n for r in outcome.results} == {3}
    for result in outcome.results:
        assert result.low is not None
        assert result.value is not None
        assert result.high is not None
        assert result.low <= result.value <= result.high
    # In some round every row is the first one: 3 nats a token, the most there is.
    assert found["loss_per_row", "base"].high == pytest.approx(3.0)
    assert outcome.notes == []


def test_rows_left_out_and_other_tokenizers_are_told() -> None:
    one = Losses({"a": RowLoss(6.0, 2)}, ["b"], 128)
    other = Losses({"a": RowLoss(6.0, 3), "b": RowLoss(1.0, 1)}, [], 128)
    told = " ".join(heldout_results.evaluate({"one": one, "other": other}, seed=0).notes)
    assert "1 of 2 rows have more than 128 tokens for one" in told
    assert "cannot be compared" in told
    same = Losses({"a": RowLoss(5.0, 2)}, ["b"], 128)
    outcome = heldout_results.evaluate({"one": one, "same": same}, seed=0)
    assert outcome.notes == [
        "heldout-loss: 1 of 2 rows have more than 128 tokens for one and same and are left out"
    ]
    with pytest.raises(EvaluationError, match="all 1 held-out rows have more than 128 tokens"):
        heldout_results.evaluate({"one": Losses({}, ["b"], 128)}, seed=0)

"""DPO, SimPO and ORPO: what is trained, their losses by hand, and that a killed run resumes."""

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from finetuned import pair, pairs_file, recipe
from tinymodel import write_tiny

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import UserError
from crowdselect_core.finetune.base_model import BaseModel, base_model
from crowdselect_core.finetune.chat_turns import IGNORED
from crowdselect_core.finetune.curve import Step
from crowdselect_core.finetune.pair_rows import file_pairs
from crowdselect_core.finetune.recipe import spec
from crowdselect_core.finetune.trainers import trainer
from crowdselect_core.finetune.trainers.common import NO_ROW
from crowdselect_core.finetune.training import Prepared, prepare, train
from crowdselect_core.store.artifacts import Artifact, Store

pytest.importorskip("trl")
pytestmark = pytest.mark.model

LOSSES = ("dpo", "simpo", "orpo")
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of one layer, whose answers are not far from even odds."""
    return write_tiny(tmp_path_factory.mktemp("small") / "model", initializer_range=0.05, **SMALL)


def prepared(folder: Path, base: Path, rows: int = 5, **keys: Any) -> Prepared:
    config = TrainingConfig.model_validate(recipe(base, **keys))
    pairs = file_pairs(str(pairs_file(folder / "pairs.jsonl", rows)))
    return prepare(config, base_model(config), pairs, gpu=False)


def made(job: Prepared, work: Path) -> Any:
    return trainer(
        job.config, job.source.load(), job.tokenizer, job.rows, work,
        gpu=False, save=lambda folder, step: None, reference=job.source.load,
    )  # fmt: skip


def texts(number: int) -> tuple[str, str]:
    row = pair(number)
    return row["chosen"][0]["content"], row["rejected"][0]["content"]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_trains_both_answers_and_one_end_of_turn(
    tmp_path: Path, small: Path, loss: str
) -> None:
    job = prepared(tmp_path, small, loss=loss, per_device_train_batch_size=2)
    batch = next(iter(made(job, tmp_path / "work").get_train_dataloader()))
    numbers = batch["rows"].tolist()
    assert len(numbers) == 2
    if loss == "dpo":  # the chosen ones, then the rejected ones
        sides = [batch[n].chunk(2) for n in ("input_ids", "attention_mask", "completion_mask")]
        chosen, rejected = ([side[k] for side in sides] for k in (0, 1))
    else:
        chosen, rejected = (
            [batch[f"{side}_{n}"] for n in ("input_ids", "attention_mask", "labels")]
            for side in ("chosen", "rejected")
        )
        for ids, _, labels in (chosen, rejected):
            assert (labels[labels != IGNORED] == ids[labels != IGNORED]).all()
    decode = job.tokenizer.decode
    for (ids, mask, marks), side in ((chosen, 0), (rejected, 1)):
        trained = marks != (0 if loss == "dpo" else IGNORED)
        assert not (trained & (mask == 0)).any()
        for at, number in enumerate(numbers):
            answer = f"{texts(number)[side]}<|im_end|>"
            assert decode(ids[at][trained[at]]) == answer
            whole = decode(ids[at][mask[at] == 1])
            prompt = job.tokenizer.apply_chat_template(
                pair(number)["prompt"], tokenize=False, add_generation_prompt=True
            )
            assert whole == prompt + answer  # no second end of turn, trained or not


def log_likelihoods(model: Any, job: Prepared, number: int) -> list[list[float]]:
    """Return log p of each token of the chosen and of the rejected answer, by a plain forward."""
    import torch

    tokens, found = job.rows.tokens[number], []
    for answer in (tokens.chosen, tokens.rejected):
        ids = torch.tensor([[*tokens.prompt, *answer]])
        with torch.no_grad():
            logits = model(ids).logits[0].log_softmax(-1)
        start = len(tokens.prompt)
        found.append([float(logits[start + k - 1, t]) for k, t in enumerate(answer)])
    return found


def by_hand(loss: str, now: list[list[float]], before: list[list[float]]) -> float:
    """The loss of a pair by its paper's formula, with the defaults of beta and gamma."""
    if loss == "dpo":  # Rafailov et al., eq. 7: sums over tokens, against the reference
        a, b = (sum(now[k]) - sum(before[k]) for k in (0, 1))
        return math.log1p(math.exp(-0.1 * (a - b)))
    a, b = (sum(now[k]) / len(now[k]) for k in (0, 1))
    if loss == "simpo":  # Meng et al., eq. 6: means over tokens, minus an absolute margin
        return math.log1p(math.exp(-(2.5 * (a - b) - 1.375)))
    odds = [math.exp(x) / (1 - math.exp(x)) for x in (a, b)]  # Hong et al., eq. 3 to 7
    return -a + 0.1 * math.log1p(odds[1] / odds[0])


@pytest.mark.parametrize("loss", LOSSES)
def test_the_logged_losses_are_those_of_the_papers(tmp_path: Path, small: Path, loss: str) -> None:
    # Steps of 2, 2 and 1 of five pairs; the last batch of an epoch is smaller.
    job = prepared(
        tmp_path, small, loss=loss, num_train_epochs=1, learning_rate=1e-2, warmup_steps=0,
        global_batch_size=4, per_device_train_batch_size=2, lr_scheduler_type="constant",
    )  # fmt: skip
    base = job.source.load()
    order: list[list[int]] = []
    run = made(job, tmp_path / "work")
    collate = run.data_collator
    run.data_collator = lambda rows: (order.append([r["row"] for r in rows]), collate(rows))[1]
    models = []
    step = run.training_step

    def watched(model: Any, *args: Any) -> Any:
        import copy

        models.append(copy.deepcopy(model).eval())
        return step(model, *args)

    run.training_step = watched
    run.train()
    logged = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    steps = [(models[0], order[0] + order[1]), (models[-1], order[2])]
    for (model, numbers), found in zip(steps, logged, strict=True):
        model.__dict__.pop("forward", None)  # DPO's fused head
        losses = [
            by_hand(loss, log_likelihoods(model, job, n), log_likelihoods(base, job, n))
            for n in numbers
        ]
        assert found == pytest.approx(sum(losses) / len(losses), abs=2e-4)


@pytest.mark.parametrize(
    "loss", ["orpo", *(pytest.param(loss, marks=pytest.mark.slow) for loss in ("dpo", "simpo"))]
)
def test_how_pairs_are_batched_changes_no_loss(tmp_path: Path, small: Path, loss: str) -> None:
    # 5 pairs in steps of 4: batches of 1 and 3 put the pairs into batches of other sizes.
    losses = []
    for size in (1, 4):
        job = prepared(
            tmp_path, small, loss=loss, num_train_epochs=1, global_batch_size=4,
            per_device_train_batch_size=size, warmup_steps=0,
        )  # fmt: skip
        run = made(job, tmp_path / "work")
        run.train()
        losses.append([entry["loss"] for entry in run.state.log_history if "loss" in entry])
    assert len(losses[0]) == 2
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_empty_pair_that_fills_a_batch_counts_nothing(
    tmp_path: Path, small: Path, loss: str
) -> None:
    import torch

    job = prepared(tmp_path, small, loss=loss)
    run = made(job, tmp_path / "work")
    real = [run.train_dataset[0], run.train_dataset[1]]
    empty = {**real[0], "row": NO_ROW}
    for name in [n for n in empty if n.startswith("rejected_")]:
        empty[name] = empty[name.replace("rejected", "chosen")]
    found = []
    for rows in (real, [*real, empty], [empty]):
        run.model.zero_grad()
        batch = run.data_collator(rows)
        pairs = run._get_num_items_in_batch([batch], "cpu")
        share = run.compute_loss(run.model, batch, num_items_in_batch=max(pairs, torch.tensor(1)))
        share.backward()
        norm = sum(float(p.grad.norm()) for p in run.model.parameters() if p.grad is not None)
        found.append((int(pairs), float(share.detach()), norm))
    (two, loss_of_two, slope), (same, with_empty, steep), (none, alone, flat) = found
    assert (two, same, none) == (2, 2, 0)
    assert with_empty == pytest.approx(loss_of_two, abs=1e-5)
    assert steep == pytest.approx(slope, rel=1e-4)
    assert (alone, flat) == (pytest.approx(0, abs=1e-5), pytest.approx(0, abs=1e-4))


class Killed(BaseException):
    """Stands for the end of the process."""


def killed_at(step: int) -> Any:
    def progress(made: Step) -> None:
        if made.step == step:
            raise Killed

    return progress


def files(model: Artifact) -> dict[str, str]:
    return {n: f["sha256"] for n, f in model.manifest.facts["files"].items()}


@pytest.mark.parametrize(
    ("loss", "peft"),
    [
        ("dpo", None),
        *(
            pytest.param(loss, peft, marks=pytest.mark.slow)
            for loss, peft in [
                ("dpo", "lora"),
                ("simpo", "lora"),
                ("simpo", None),
                ("orpo", "lora"),
                ("orpo", None),
            ]
        ),
    ],
)
def test_going_on_from_a_checkpoint_changes_nothing(
    tmp_path: Path, small: Path, loss: str, peft: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    warned: list[str] = []
    monkeypatch.setattr(
        transformers.trainer.logger, "warning", lambda told, *args: warned.append(str(told))
    )
    job = prepared(tmp_path, small, loss=loss, peft=peft, num_train_epochs=2, save_steps=2)
    whole = train(job, Store(str(tmp_path / "whole")))
    store = Store(str(tmp_path / "killed"))
    with pytest.raises(Killed):
        train(job, store, killed_at(5))  # in mid-epoch; stored: step 2 and 4
    steps: list[int] = []
    again = train(job, store, lambda made: steps.append(made.step))
    assert steps == [5, 6]
    assert files(again) == files(whole)
    assert again.manifest == whole.manifest
    # the head is tied to the embeddings: a checkpoint without it lacks nothing
    assert not [told for told in warned if "missing keys" in told]

    told = again.manifest.facts["training"]
    assert (told["rows"], told["steps"], told["recipe"]["loss"]) == (5, 6, loss)
    from crowdselect_core.finetune.files import unpack

    unpack(again, tmp_path / "out")
    curve = pl.read_parquet(tmp_path / "out" / "training.parquet")
    assert curve["reward_accuracy"].is_between(0, 1).all()
    assert curve["reward_margin"].null_count() == 0
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert {"dpo": "DPO", "simpo": "SimPO", "orpo": "ORPO"}[loss] in card


def test_what_names_a_model_of_pairs(tmp_path: Path, small: Path) -> None:
    def key(**keys: Any) -> str:
        return prepared(tmp_path, small, **{"loss": "simpo", **keys}).spec.key

    same = [{"beta": 2.5}, {"simpo_gamma": 1.375}, {"train_on": "last"}, {"merge": False}]
    own = key()
    assert {key(**k) for k in same} == {own}
    other = [{"beta": 2.0}, {"simpo_gamma": 1.0}, {"loss": "orpo"}, {"loss": "dpo"}, {"rows": 4}]
    keys = {key(**k) for k in other}
    assert len(keys) == 5
    assert own not in keys


def test_the_keys_of_sft_are_those_of_before_there_were_pairs() -> None:
    base = BaseModel("x", "sha256:00", "x")
    config = TrainingConfig(base_model="x")
    full = "371ac4299402405c9e25f7660e1cc42e62bd3a67502070e959a6ee4512a72c13"
    lora = "4bc1ee1772b57755541460ccf411cfc529c1e45d2ca1522b4047823cc3a71ab1"
    assert spec(config, base, "00", False).key == full
    with_lora = TrainingConfig.model_validate({
        "base_model": "x", "peft": "lora", "merge": True, "push_to": "org/name", "rate": 10,
        "report_to": "wandb", "args": {"run_name": "mine"},
    })  # fmt: skip
    assert spec(with_lora, base, "00", True).key == lora
    changed = config.model_copy(update={"args": {"weight_decay": 0.1}})
    assert spec(changed, base, "00", False).key != full


@pytest.mark.parametrize(
    ("loss", "full", "lora"),
    [
        ("sft", 1e-5, 1e-4),
        ("dpo", 5e-7, 5e-6),
        ("simpo", 1e-6, 1e-6),
        ("orpo", 8e-6, 8e-6),
    ],
)
def test_the_learning_rates_by_kind(loss: Any, full: float, lora: float) -> None:
    rates = [
        TrainingConfig.model_validate(
            {"base_model": "x", "loss": loss, "peft": peft}
        ).peak_learning_rate
        for peft in (None, "lora")
    ]
    assert rates == [full, lora]


def test_dpo_with_all_weights_needs_room_for_the_reference(tmp_path: Path, small: Path) -> None:
    from crowdselect_core.finetune.estimate import estimate

    found = {}
    for name, keys in {
        "dpo": {"loss": "dpo"}, "orpo": {"loss": "orpo"}, "lora": {"loss": "dpo", "peft": "lora"},
    }.items():  # fmt: skip
        job = prepared(tmp_path, small, **keys)
        found[name] = estimate(job.config, job.source.config(), gpu=False)
    copy = found["dpo"].parameters * 4
    assert found["dpo"].memory == found["orpo"].memory + copy
    assert (found["orpo"].reference, found["lora"].reference) == (0, 0)
    assert "of the reference" in found["dpo"].lines[0]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"beta": 0.2}, "beta is read by the losses dpo, simpo and orpo"),
        ({"loss": "dpo", "simpo_gamma": 1.0}, "simpo_gamma is read by the loss simpo"),
        ({"merge": True}, "merge needs peft"),
        ({"push_to": "name"}, "push_to"),
        ({"args": {"hub_token": "x"}}, "credential"),
    ],
)
def test_keys_that_do_not_fit_each_other_are_refused(keys: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        TrainingConfig.model_validate({"base_model": "x", **keys})


def test_a_row_longer_than_the_model_reads_is_refused(tmp_path: Path) -> None:
    short = write_tiny(tmp_path / "short", max_position_embeddings=32, **SMALL)
    with pytest.raises(UserError, match="set max_length: 32"):
        prepared(tmp_path, short, loss="dpo")

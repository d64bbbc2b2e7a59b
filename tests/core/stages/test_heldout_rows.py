"""Held-out rows: who leaves, that nothing of them is computed with, and whose answers are read."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from chain import Chosen, choose, choose_with
from little import CROWD, NAMES, OTHER, REWARD, Row, jsonl, parquet, row, rows

from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, DatasetError, SelectionError
from crowdselect_core.planning.dry_run import forecast
from crowdselect_core.reselection.settings import measures
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.graph import HELDOUT_ANSWERS, STAGES
from crowdselect_core.store.artifacts import Store
from flows.select import chosen

ZOO = Path(__file__).parents[4] / "shared" / "data" / "alpaca_zoo"
WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen".split()  # noqa: SIM905


def config_of(folder: Path, table: Sequence[Row], name: str = "zoo", **keys: Any) -> SelectConfig:
    data = jsonl(folder / f"{name}.jsonl", table)
    given = {
        "dataset": str(data), "crowd": CROWD, "reward_models": [REWARD, OTHER], "budget": 5,
        "clusters": 0, "store": str(folder / "store"), "out": str(folder / "out"), **keys,
    }  # fmt: skip
    return load(None, given, {})


def chosen_from(folder: Path, table: Sequence[Row], name: str = "zoo", **keys: Any) -> Chosen:
    return choose_with(config_of(folder, table, name, **keys))


def ids(found: Chosen, role: str = "heldout") -> set[str]:
    return set(found.stored(role)["instruction_id"])


def test_without_the_key_no_artifact_has_another_key(tmp_path: Path) -> None:
    """The first digits of the keys before the key `heldout` existed: stores must go on."""
    config = config_of(tmp_path, rows(30), export=["pairs"], budget=6)
    inputs = chosen(config, run=InProcess(Store(config.store))).inputs
    found = {role: ref.key[:12] for role, ref in inputs.refs().items()}
    assert found == {
        "instructions": "9b91f7fbfc2c",
        "scores": "8fac00a572db",
        "metrics": "967529f03e40",
        "answers": "0a736c73dc93",
        "ranking": "c8e3a2ae4443",
        "selection": "a134a5d72fd3",
        "pairs": "fb094878fb68",
        "lengths": "90a08bf45336",
        "comparison": "3523e6cc488a",
    }
    assert "heldout" not in measures(config)
    shares = [config_of(tmp_path, rows(30), heldout={"share": s}) for s in (0.1, 0.2)]
    told = [measures(c)["heldout"] for c in shares]
    assert told == [{"share": 0.1, "seed": 0}, {"share": 0.2, "seed": 0}]  # frozen runs ask for it


def test_nothing_is_computed_with_the_rows_that_leave(tmp_path: Path) -> None:
    """All tables are those of a data set in which the held-out rows never stood."""
    table = rows(60)
    keys: dict[str, Any] = {"heldout": {"share": 0.3}, "clusters": 3, "seed": 4}
    ours = chosen_from(tmp_path / "a", table, **keys)
    out = ids(ours)
    assert 8 <= len(out) <= 28  # 60 draws of 0.3: 18, with a deviation of 3.5
    left = [r for r in table if r["uuid"] not in out]
    theirs = chosen_from(tmp_path / "b", left, clusters=3, seed=4)
    for role in ("scores", "metrics", "answers", "embedder", "embeddings", "centers", "clusters",
                 "ranking", "selection", "comparison"):  # fmt: skip
        mine, other = (c.stored(role).drop("source", "source_row", strict=False) for c in
                       (ours, theirs))  # fmt: skip
        assert mine.equals(other), role
    assert ours.ranking.height == len(left)
    assert ours.manifest["summary"]["heldout"] == {"rows": len(out), "near_duplicates": 0}
    assert ours.manifest["summary"]["rows_in"] == 60
    stored = ours.stored("heldout")
    by_id = {r["uuid"]: r for r in table}
    for told in stored.iter_rows(named=True):
        assert told["messages"] == [
            {"role": "user", "content": by_id[told["instruction_id"]]["instruction"]}
        ]
        assert table[told["source_row"]]["uuid"] == told["instruction_id"]


def test_order_shards_and_limit_change_no_side(tmp_path: Path) -> None:
    table = rows(24)
    base = chosen_from(tmp_path, table, heldout={"share": 0.5}, clusters=2)
    backwards = parquet(tmp_path / "backwards.parquet", table[::-1], row_group_size=1)
    single = {"dataset": str(backwards), "shard_rows": 1, "clusters": 2}  # some are left empty
    other = chosen_from(tmp_path, table, heldout={"share": 0.5}, **single)
    assert len(other.inputs.instructions.open(other.store).manifest.shards) == 24
    assert ids(other) == ids(base)
    assert other.selection.equals(base.selection)
    first = chosen_from(tmp_path, table, heldout={"share": 0.5}, limit=15)
    assert ids(first) == ids(base) & {r["uuid"] for r in table[:15]}
    assert ids(chosen_from(tmp_path, table, heldout={"share": 0.5}, seed=1)) != ids(base)
    more = chosen_from(tmp_path, table, heldout={"share": 0.7})
    assert ids(more) > ids(base)  # a larger share keeps those of a smaller one


def test_the_same_prompt_and_its_near_duplicates_are_on_one_side(tmp_path: Path) -> None:
    """Rows 0 to 3 have one prompt; row 4 differs in a mark, row 5 in a word of 13."""
    text = " ".join(WORDS)
    told = [text] * 4 + [f"{text.upper()}!", text.replace("thirteen", "14"), "another one"]
    alike = [row(n, [0.1 * n, 0.2, 0.3, 0.4], instruction=t) for n, t in enumerate(told)]
    table = [*alike, *rows(30)[10:]]
    listed = tmp_path / "list.jsonl"
    listed.write_text(json.dumps({"prompt": text}) + "\n")
    found = chosen_from(tmp_path, table, heldout={"file": str(listed)})
    assert ids(found) == {"row-000", "row-001", "row-002", "row-003"}
    near = found.stored("heldout_duplicates")
    # 8 of 10 shingles are shared with row 5: 9 + 9 - 8 = 10
    assert near["instruction_id"].to_list() == ["row-004", "row-005"]
    assert set(near["heldout_id"]) <= ids(found)
    assert found.ranking.height == 21
    for seed in range(3):
        drawn = ids(chosen_from(tmp_path, table, heldout={"share": 0.5}, seed=seed))
        assert len(drawn & {"row-000", "row-001", "row-002", "row-003"}) in (0, 4)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ids.txt", "row-003\nrow-007\n"),
        ("ids.jsonl", '{"instruction_id": "row-003"}\n\n{"instruction_id": "row-007"}\n'),
        ("texts.jsonl", '{"prompt": "Question 3?"}\n{"prompt": "Question 7?"}'),
        (
            "turns.jsonl",
            '{"messages": [{"role": "user", "content": "Question 3?"}]}\n{"messages": [{"from": '
            '"human", "value": "Question 7?"}, {"from": "gpt", "value": "an answer"}]}',
        ),
    ],
)
def test_a_list_of_what_is_held_out(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = chosen_from(tmp_path, rows(30), heldout={"file": str(tmp_path / name)})
    assert ids(found) == {"row-003", "row-007"}
    assert found.manifest["summary"]["notes"] == []
    again = tmp_path / "elsewhere.txt"
    again.write_text("row-007\nrow-003")
    other = chosen_from(tmp_path, rows(30), heldout={"file": str(again)})
    keys = [c.inputs.refs()["heldout"].key for c in (found, other)]
    assert (keys[0] == keys[1]) == name.startswith(
        "ids"
    )  # the content is the identity, not the path


def test_entries_of_a_list_that_are_in_no_row_are_told(tmp_path: Path) -> None:
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"prompt": "Question 3?"}\n{"prompt": "x"}\n{"instruction_id": "y"}')
    found = chosen_from(tmp_path, rows(30), heldout={"file": str(listed)})
    assert found.manifest["summary"]["notes"] == ["heldout.file: 2 of its 3 entries are in no row"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}\n[1]', r"line 2: expected an object with one of the keys"),
        ("{", r"line 1: is no JSON"),
        ('{"prompt": " "}', r"line 1: no_instruction"),
        ('{"messages": "a"}', r"line 1: bad_messages"),
        ('{"instruction_id": [1]}', r"line 1: instruction_id is list, expected a text"),
        ("\n", r"is empty"),
    ],
)
def test_a_list_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    listed = tmp_path / "list.jsonl"
    listed.write_text(text)
    with pytest.raises(ConfigError, match=message):
        chosen_from(tmp_path, rows(30), heldout={"file": str(listed)})


@pytest.mark.parametrize(
    ("heldout", "message"),
    [
        ({}, "exactly one of share and file"),
        ({"share": 0.1, "file": "a"}, "exactly one of share and file"),
        ({"share": 0}, "share"),
        ({"share": 1}, "share"),
        ({"share": "nan"}, "share"),
        ({"share": 0.1, "answers": ""}, "answers"),
        ({"share": 0.1, "shares": 1}, "shares"),
    ],
)
def test_a_section_that_is_refused(tmp_path: Path, heldout: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(tmp_path, rows(3), heldout=heldout)


def test_none_held_out_and_all_held_out_are_errors(tmp_path: Path) -> None:
    table = rows(10)
    with pytest.raises(SelectionError, match=r"heldout\.share 0\.0001: none of the 10 rows"):
        chosen_from(tmp_path, table, heldout={"share": 0.0001})
    everyone = tmp_path / "ids.txt"
    everyone.write_text("\n".join(r["uuid"] for r in table))
    with pytest.raises(SelectionError, match=r"no row of .* remains, 10 are held out and 0 are"):
        chosen_from(tmp_path, table, heldout={"file": str(everyone)})
    everyone.write_text("nobody")
    with pytest.raises(SelectionError, match=r"none of the 10 rows of .* is in the list"):
        chosen_from(tmp_path, table, heldout={"file": str(everyone)})
    with pytest.raises(ConfigError, match="no such file"):
        chosen_from(tmp_path, table, heldout={"file": str(tmp_path / "none.txt")})
    bare = [{k: v for k, v in r.items() if k != "instruction"} for r in table]
    with pytest.raises(DatasetError, match="rows are held out by their prompts"):
        chosen_from(tmp_path, bare, "bare", heldout={"share": 0.5})


Answers = Callable[..., list[tuple[str, str | None, str | None]]]


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    """Return (id, model, answer) of the held-out rows 0, 1 and 2."""
    table = [
        row(0, [0.1, 0.9, 0.3, 0.2]),  # ant-7b is best
        row(1, [0.5, 0.5, 0.1, 0.2]),  # a tie: ant-1b by its name
        row(2, [0.9, 0.1, 0.2, None], **{"ant-1b": " \n"}),  # the best one is empty: bee-0.5b
        *rows(30)[3:],
    ]
    for number, one in enumerate(table):
        for place, name in enumerate(NAMES):
            if number < 3:
                one[name][OTHER] = 100.0 * place  # the last model is always far ahead
        one["human"] = None if number == 1 else f"human on {number}"
        one["size"] = number
    listed = tmp_path / "ids.txt"
    listed.write_text("row-000\nrow-001\nrow-002")

    def read(wanted: str, **keys: Any) -> list[tuple[str, str | None, str | None]]:
        heldout = {"file": str(listed), "answers": wanted}
        found = chosen_from(tmp_path, table, heldout=heldout, **keys)
        assert found.inputs.heldout is not None
        ref = InProcess(found.store)(
            HELDOUT_ANSWERS, found.config, found.inputs.heldout, None, found.inputs.metrics
        )
        made = ref.open(found.store).frame()
        pairs = made.drop_nulls("answer").select("messages", "answer").rows()
        assert [a for _, a in pairs] == made["answer"].drop_nulls().to_list()
        assert ref.counts["answers"] == len(pairs) == 3 - ref.counts["unanswered"]
        assert pairs[0][0] == [{"role": "user", "content": "Question 0?"}]
        return list(made.select("instruction_id", "model", "answer").iter_rows())

    return read


def test_answers_of_a_model_of_a_column_and_the_best(answers: Answers) -> None:
    own = [(i, m, a) for i, m, a in answers("ant-1b")]
    assert own[0] == ("row-000", "ant-1b", "ant-1b on 0")
    assert own[2] == ("row-002", "ant-1b", None)  # white space alone
    assert answers("human") == [
        ("row-000", "human", "human on 0"),
        ("row-001", "human", None),
        ("row-002", "human", "human on 2"),
    ]
    assert answers("best", reward_models=[REWARD]) == [
        ("row-000", "ant-7b", "ant-7b on 0"),
        ("row-001", "ant-1b", "ant-1b on 1"),
        ("row-002", "bee-0.5b", "bee-0.5b on 2"),
    ]
    # Two reward models: the z-scores of OTHER (0, 100, 200, 300 at a deviation of about 3) decide;
    # bee-2.5b of row 2 has that one alone.
    assert [m for _, m, _ in answers("best")] == ["bee-2.5b"] * 3


def test_answers_that_cannot_be(answers: Answers) -> None:
    with pytest.raises(ConfigError, match=r"heldout\.answers 'humans': expected best.*'human'"):
        answers("humans")
    with pytest.raises(DatasetError, match=r"'size', which heldout\.answers names, holds int"):
        answers("size")


def test_the_dry_run_counts_the_rows(tmp_path: Path) -> None:
    config = config_of(tmp_path, rows(50), heldout={"share": 0.3})
    lines = forecast(config, chosen)
    run = chosen(config, run=InProcess(Store(config.store)))
    assert run.inputs.heldout is not None
    assert any(line.startswith(f"held out   {run.inputs.heldout.rows} rows") for line in lines)
    after = forecast(config, chosen)
    assert "stage      heldout-duplicates: Cached, 0 rows" in after
    assert not any(line.startswith("held out") for line in forecast(config_of(tmp_path, rows(9)),
                                                                     chosen))  # fmt: skip


def test_another_process_computes_a_part_from_texts_alone(tmp_path: Path) -> None:
    config = config_of(tmp_path, rows(30), heldout={"share": 0.5, "answers": "best"})
    store = Store(config.store)
    inputs = chosen(config, run=InProcess(store)).inputs
    assert inputs.heldout is not None
    ref = InProcess(store)(HELDOUT_ANSWERS, config, inputs.heldout, None, inputs.metrics)
    job = HELDOUT_ANSWERS.job(config, inputs.heldout, None, inputs.metrics)
    part = STAGES[job.stage].planned(job, Store(config.store)).compute(0)
    assert part.frame.equals(ref.open(store).frame())
    nobody = config_of(tmp_path, rows(30), heldout={"share": 0.5})
    with pytest.raises(ConfigError, match=r"heldout\.answers is empty"):
        HELDOUT_ANSWERS.spec(nobody, inputs.heldout)


@pytest.mark.skipif(
    not (ZOO / "zoo.parquet").exists(), reason="../shared/data/alpaca_zoo is not here"
)
def test_real_instructions(tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "dataset": str(ZOO / "zoo.parquet"), "crowd": str(ZOO / "crowd.yaml"), "clusters": 5,
        "reward_models": ["MiniLM-BT"], "budget": 50,
    }  # fmt: skip
    ours = choose(tmp_path / "a", heldout={"share": 0.3, "answers": "best"}, **keys)
    whole = choose(tmp_path / "b", **keys)
    out, near = ids(ours), ids(ours, "heldout_duplicates")
    assert 110 <= len(out) <= 195  # 505 draws of 0.3: 151.5, with a deviation of 10.3
    assert not out & near
    assert set(ours.ranking["instruction_id"]) == set(whole.ranking["instruction_id"]) - out - near
    assert not (out | near) & set(ours.ids)
    kept = whole.stored("metrics").join(
        ours.stored("metrics"), on="instruction_id", how="semi", maintain_order="left"
    )
    assert ours.stored("metrics").equals(kept)  # one reward model: raw scores, nothing is fitted
    assert ours.inputs.heldout is not None
    ref = InProcess(ours.store)(HELDOUT_ANSWERS, ours.config, ours.inputs.heldout)
    best = ref.open(ours.store).frame()
    assert best["answer"].null_count() == ref.counts["unanswered"] <= 2
    zoo = {r["uuid"]: r for r in pq.read_table(ZOO / "zoo.parquet").to_pylist()}
    crowd = [m.name for m in ours.config.models]
    for told in best.iter_rows(named=True):
        own = zoo[told["instruction_id"]]
        given = {m: own[m] for m in crowd if own[m] and (own[m]["content"] or "").strip()}
        scores = {m: a["MiniLM-BT"] for m, a in given.items() if a["MiniLM-BT"] is not None}
        assert told["model"] == min(scores, key=lambda m: (-scores[m], m))
        assert told["answer"] == given[told["model"]]["content"]

"""The quality gates in a selection: planted rows are found exactly, and nothing else changes."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import Chosen, choose
from little import CROWD, NAMES, REWARD, Row, jsonl, parquet, row

from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, DatasetError, SelectionError
from crowdselect_core.planning import preflight
from crowdselect_core.report.quality import gate_report
from crowdselect_core.reselection.record import RankedRun, RowsRun
from crowdselect_core.reselection.settings import measures
from crowdselect_core.selection.eligibility import reason_code
from crowdselect_core.stages.base import InProcess, Stage
from crowdselect_core.stages.graph import STAGES, compute
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.executors.base import Job
from flows.row_steps import check_gates
from flows.select import chosen, gated

SHARED = Path(__file__).parents[3].parent / "shared" / "data"

REFUSAL = "I'm sorry, but I cannot help with that request."
PROMPT = "Give me the names of all seven wonders of the ancient world and say where each one stood"


def said(number: int, words: int = 20) -> str:
    """Return a text of words that no other number has."""
    return " ".join(f"q{number}w{i}" for i in range(words))


def planted(count: int = 40) -> list[Row]:
    """Return rows whose best answer is the last model's, some of them with what gates look for.

    0 refuses; 1 has a refusal that is not kept; 2 loses characters; 3 is too short; 4 holds a
    benchmark's prompt. 10, 11, 12 are exact duplicates, of which 11 ranks best; 13 and 14 differ in
    case; 15 and 16 in one of 60 words; 17 duplicates 5, but refuses.
    """
    rng = random.Random(0)
    rows = []
    for number in range(count):
        scores = sorted(rng.gauss(0, 1) for _ in NAMES)
        texts: dict[str, str | None] = {n: f"Answer {number} of {n}: {said(number)}" for n in NAMES}
        rows.append(row(number, scores, instruction=said(number), **texts))
    best, worst = NAMES[-1], NAMES[0]
    rows[0][best]["content"] = REFUSAL
    rows[1][worst]["content"] = REFUSAL
    rows[2][best]["content"] += "\ufffd"
    rows[3][best]["content"] = "Yes."
    rows[4]["instruction"] = f"Please! {PROMPT}?"
    for number, text in (
        (10, said(10)), (11, said(10)), (12, said(10)), (13, said(13)), (14, said(13).upper()),
        (15, said(15, 60)), (16, said(15, 60).replace("q15w30", "other")), (17, said(5)),
    ):  # fmt: skip
        rows[number]["instruction"] = text
    for name, score in zip(NAMES, (-9.0, -8.0, -7.0, -6.0), strict=True):
        rows[11][name][REWARD] = score  # the hardest of all
    rows[17][best]["content"] = REFUSAL
    return rows


GATES: dict[str, Any] = {
    "length": {"response": {"min_words": 3}},
    "refusals": True,
    "broken": True,
    "duplicates": ["exact", "normalised", "near"],
}
REASONS = {0: "refusal", 2: "broken", 3: "length", 4: "contaminated", 17: "refusal"}
DUPLICATES = {10: (11, "exact"), 12: (11, "exact")}


def select(folder: Path, rows: list[Row] | None = None, **keys: Any) -> Chosen:
    data = folder / "zoo.parquet"
    if not data.exists():
        parquet(data, rows or planted(), row_group_size=9)
    given = {
        "dataset": str(data), "crowd": CROWD, "reward_models": [REWARD], "budget": 5,
        "method": "difficulty", "weights": [1, 0, 0],
    }  # fmt: skip
    return choose(folder, **{**given, **keys})


def with_benchmark(folder: Path, **gates: Any) -> dict[str, Any]:
    """Return the gates beside a benchmark's file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wonders.txt").write_text(f"Unrelated words of a prompt that is\n{PROMPT}\n")
    return {**GATES, "decontamination": [str(folder / "wonders.txt")], **gates}


def reasons(found: Chosen) -> dict[int, str]:
    """Return the codes of the rows that are not eligible, by their number."""
    table = found.stored("ranking").filter(~pl.col("eligible"))
    codes = table.select("instruction_id", reason_code(pl.col("reason")))
    return {int(i.split("-")[1]): code for i, code in codes.iter_rows()}


def test_the_counts_are_what_was_planted(tmp_path: Path) -> None:
    found = select(tmp_path, quality=with_benchmark(tmp_path))
    answers = found.stored("answers").filter(pl.col("duplicate_of").is_not_null())
    pairs = {
        int(i[-3:]): (int(of[-3:]), kind)
        for i, of, kind in answers.select(
            "instruction_id", "duplicate_of", "duplicate_kind"
        ).iter_rows()
    }
    others = {n: pair for n, pair in pairs.items() if n not in DUPLICATES}
    assert {n: pairs[n] for n in DUPLICATES} == DUPLICATES
    # which of two stays follows from the ranking; that one of each does, from the plan
    assert {(*sorted((n, of)), kind) for n, (of, kind) in others.items()} == {
        (13, 14, "normalised"), (15, 16, "near"),
    }  # fmt: skip
    assert reasons(found) == REASONS | dict.fromkeys(pairs, "duplicate_of")
    told = found.manifest["summary"]["quality"]
    assert (told["candidates"], told["passed"]) == (40, 40 - len(REASONS) - 4)
    counts = {gate: (t["fails"], t["removed"]) for gate, t in told["gates"].items()}
    assert counts == {
        "length": (1, 1), "refusals": (2, 2), "broken": (1, 1), "decontamination": (1, 1),
        "duplicates": (4, 4),
    }  # fmt: skip
    assert told["gates"]["duplicates"]["by_kind"] == {"exact": 2, "normalised": 1, "near": 1}
    assert told["gates"]["duplicates"]["groups"] == {"exact": 2, "normalised": 3, "near": 4}
    assert found.manifest["summary"]["ineligible"] == {
        "broken": 1, "contaminated": 1, "duplicate_of": 4, "length": 1, "refusal": 2,
    }  # fmt: skip


def test_examples_show_the_texts_and_the_offending_pair(tmp_path: Path) -> None:
    found = select(tmp_path, quality=with_benchmark(tmp_path))
    written = json.loads((found.out / "quality.json").read_bytes())
    assert written == found.manifest["summary"]["quality"]
    gates = written["gates"]
    assert gates["refusals"]["examples"][0] == {
        "instruction_id": "row-000", "why": "I'm sorry, but", "instruction": said(0),
        "response": REFUSAL,
    }  # fmt: skip
    (match,) = gates["decontamination"]["examples"]
    assert match["prompt"] == PROMPT
    assert match["instruction"] == f"Please! {PROMPT}?"
    assert match["shared"] == " ".join(PROMPT.lower().split()[:13])
    assert (match["benchmark"], match["item"], match["kind"]) == ("wonders.txt", "2", "ngram")
    pair = gates["duplicates"]["examples"][0]
    assert (pair["instruction_id"], pair["duplicate_of"]) == ("row-010", "row-011")
    assert pair["instruction"] == pair["kept"] == said(10)
    sentence = dict(found.ranking.select("instruction_id", "reason").iter_rows())
    assert sentence["row-010"] == "not eligible: duplicate_of: row-011"
    assert sentence["row-004"] == "not eligible: contaminated: wonders.txt 2 (ngram)"
    assert sentence["row-000"] == "not eligible: refusal: I'm sorry, but"


def test_quantiles_are_those_of_the_rows_that_stay(tmp_path: Path) -> None:
    gated = select(tmp_path, quality=with_benchmark(tmp_path))
    out = tmp_path / "out.txt"
    out.write_text("\n".join(f"row-{n:03d}" for n in reasons(gated)))
    listed = select(tmp_path, exclude=str(out), out=str(tmp_path / "listed"))
    kept = ["instruction_id", "difficulty_q", "separability_q", "stability_q", "score", "eligible"]
    assert gated.stored("ranking").select(kept).equals(listed.stored("ranking").select(kept))
    assert gated.ids == listed.ids


def test_without_gates_every_key_is_what_it_was(tmp_path: Path) -> None:
    plain = select(tmp_path, clusters=3)
    gated = select(tmp_path, clusters=3, quality=with_benchmark(tmp_path))
    before = {"instructions", "scores", "metrics", "embedder", "embeddings", "centers", "clusters"}
    keys, others = (
        {name: ref.key for name, ref in f.inputs.refs().items()} for f in (plain, gated)
    )
    assert {n: keys[n] for n in before} == {n: others[n] for n in before}
    assert others["candidates"] == keys["answers"]
    assert others["ranking"] != keys["ranking"]
    assert plain.manifest["summary"]["quality"] is None


def test_the_keys_are_those_that_stores_have(tmp_path: Path) -> None:
    jsonl(tmp_path / "zoo.jsonl", planted(20))
    found = select(tmp_path, dataset=str(tmp_path / "zoo.jsonl"))
    keys = {name: ref.key[:12] for name, ref in found.inputs.refs().items() if name in KEYS}
    assert keys == KEYS


# as they were before there were gates
KEYS = {
    "instructions": "ba49514eb4b8",
    "scores": "4051f4e86b7e",
    "metrics": "e7a940b9b3f5",
    "answers": "db1bc85d39c6",
    "ranking": "afb8dd4978fc",
    "selection": "41f096d01d64",
}


def test_groups_do_not_depend_on_method_weights_or_seed(tmp_path: Path) -> None:
    gates = {"duplicates": ["exact", "near", "semantic"]}
    first = select(tmp_path, quality=gates, clusters=2)
    ways: list[dict[str, Any]] = [
        {"method": "random", "seed": 7}, {"method": "crowdselect", "weights": [1, 1, 2]},
        {"direction": "bottom"}, {"clusters": 0}, {"response": "random", "seed": 3},
    ]  # fmt: skip
    for way in ways:
        other = select(tmp_path, quality=gates, **{"clusters": 2, **way})
        assert key_of(other) == key_of(first)
    fewer = select(tmp_path, quality={"duplicates": ["exact", "near"]})
    assert key_of(fewer) != key_of(first)


def key_of(found: Chosen) -> str:
    """Return the key of the groups of duplicates."""
    assert found.inputs.duplicate_groups is not None
    return found.inputs.duplicate_groups.key


def test_the_best_row_of_a_group_stays_whatever_best_is(tmp_path: Path) -> None:
    gates = {"duplicates": ["exact"]}
    top = select(tmp_path, quality=gates)
    assert "row-011" in top.ids
    assert top.ids[0] == "row-011"
    bottom = reasons(select(tmp_path, quality=gates, direction="bottom"))
    assert 11 in bottom  # the hardest is the worst now
    assert len({10, 11, 12} - set(bottom)) == 1


def test_a_duplicate_that_another_gate_refuses_does_not_stand_for_its_group(tmp_path: Path) -> None:
    rows = planted()
    for name, score in zip(NAMES, (-99.0, -98.0, -97.0, -96.0), strict=True):
        rows[17][name][REWARD] = score  # it would rank best, but refuses
    out = reasons(select(tmp_path, rows, quality=GATES))
    assert out[17] == "refusal"
    assert 5 not in out


def test_the_order_and_the_shards_change_nothing(tmp_path: Path) -> None:
    rows = planted()
    gates = with_benchmark(tmp_path, duplicates={"exact": True, "near": True, "semantic": 0.9})
    first = select(tmp_path / "a", rows, quality=gates)
    shuffled = random.Random(1).sample(rows, len(rows))
    other = select(tmp_path / "b", shuffled, quality=gates, shard_rows=7, workers=3)
    assert first.ranking.equals(other.ranking)
    one, two = (f.manifest["summary"]["quality"] | {"key": ""} for f in (first, other))
    assert one == two


def test_every_part_follows_from_its_job_alone(tmp_path: Path) -> None:
    parquet(tmp_path / "zoo.parquet", planted(), row_group_size=9)
    gates = with_benchmark(tmp_path, duplicates=["exact", "near", "semantic"])
    gates["decontamination"] = {"against": gates["decontamination"], "similarity": 0.9}
    keys: dict[str, Any] = {
        "dataset": str(tmp_path / "zoo.parquet"), "crowd": CROWD, "reward_models": [REWARD],
        "budget": 5, "clusters": 0, "quality": gates, "store": str(tmp_path / "store"),
        "shard_rows": 10,
    }  # fmt: skip
    config = load(None, keys, {})
    store = Store(config.store)
    made: list[tuple[Job, Ref]] = []

    def run(stage: Stage[Any], config: SelectConfig, *inputs: Any, **named: Any) -> Ref:
        ref = InProcess(store)(stage, config, *inputs, **named)
        made.append((stage.job(config, *inputs, **named), ref))
        return ref

    chosen(config, run=run)
    ours = {"row-filters", "contamination", "sketches", "duplicate-groups", "gated", "deduplicated"}
    assert ours <= {job.stage for job, _ in made}
    for job, ref in made:
        artifact = ref.open(store)
        for index in range(len(artifact.manifest.shards) if job.stage in ours else 0):
            assert compute(job, store, index).frame.equals(artifact.shard(index))
    [job] = [job for job, _ in made if job.stage == "contamination"]
    plan = STAGES[job.stage].planned(job, store)
    kinds = [{*plan.compute(index).frame["kind"]} for index in range(plan.total)]
    assert 0 < plan.without_model < plan.total
    assert not any("embedding" in found for found in kinds[: plan.without_model])
    assert any("embedding" in found for found in kinds[plan.without_model :])


def test_similar_embeddings_of_a_benchmark(tmp_path: Path) -> None:
    rows = planted()
    words = PROMPT.split()
    rows[4]["instruction"] = " ".join(reversed(words))  # no n-gram is shared
    (tmp_path / "wonders.txt").write_text(PROMPT)
    gates: dict[str, Any] = {"decontamination": {"against": str(tmp_path / "wonders.txt")}}
    assert reasons(select(tmp_path, rows, quality=gates)) == {}
    gates["decontamination"]["similarity"] = 0.95
    found = select(tmp_path, quality=gates)
    assert reasons(found) == {4: "contaminated"}
    (match,) = found.manifest["summary"]["quality"]["gates"]["decontamination"]["examples"]
    assert (match["kind"], match["prompt"]) == ("embedding", PROMPT)
    assert match["instruction"] == rows[4]["instruction"]
    assert match["value"] > 0.95
    rows[5]["instruction"] = PROMPT  # equal, and its embedding too: words come first everywhere
    found = select(tmp_path / "both", rows, quality=gates)
    (_, match) = found.manifest["summary"]["quality"]["gates"]["decontamination"]["examples"]
    assert (match["instruction_id"], match["kind"]) == ("row-005", "equal")
    reason = found.ranking.filter(pl.col("instruction_id") == "row-005")["reason"][0]
    assert "(equal)" in reason


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ({"length": {"response": {"min_words": 900}}}, "quality.length removes all 40 rows"),
        (
            {"length": {"instruction": {"min_words": 21}}, "broken": True,
             "refusals": {"patterns": ["Answer"]}},
            "the quality gates together remove all 40 rows that could be chosen (length 38, "
            "refusals 39, broken 1)",
        ),
    ],
)  # fmt: skip
def test_gates_that_remove_everything_are_named(
    tmp_path: Path, gates: dict[str, Any], message: str
) -> None:
    """Where nothing is chosen, what they found is told first: then counts are needed most."""
    for _ in range(2):  # computed, and cached
        with pytest.raises(SelectionError) as caught:
            select(tmp_path, quality=gates)
        assert message in str(caught.value)
    further: list[dict[str, Any]] = [{}, {"duplicates": ["exact"]}]
    for more in further:
        config, found, built = examined(tmp_path, quality={**gates, **more, "only": True})
        told = gate_report(config, Store(config.store), found.inputs)
        assert told is not None
        assert (told["candidates"], told["passed"]) == (40, 0)
        assert sum(gate["removed"] for gate in told["gates"].values()) == 40
        assert told["gates"]["length"]["examples"]
        assert ("ranking" in built) is bool(more)
        with pytest.raises(SelectionError) as caught:
            check_gates(config, found.inputs)
        assert message in str(caught.value)


def test_counts_alone_need_no_ranking_without_a_gate_of_duplicates(tmp_path: Path) -> None:
    """The method's numbers, and what they would be made of, are read by no other gate."""
    keys = {"method": "length", "length": {"of": "response"}}
    _, whole, _ = examined(tmp_path, quality={**GATES, "only": True}, **keys)
    config, found, built = examined(
        tmp_path, quality={"refusals": True, "broken": True, "only": True}, **keys
    )
    assert isinstance(whole, RankedRun)
    assert not isinstance(found, RankedRun)
    assert [n for n in built if n in ("lengths", "ranking", "embeddings", "clusters")] == []
    told = gate_report(config, Store(config.store), found.inputs)
    assert told is not None
    assert {gate: t["removed"] for gate, t in told["gates"].items()} == {"refusals": 2, "broken": 1}
    check_gates(config, found.inputs)


def examined(folder: Path, **keys: Any) -> tuple[SelectConfig, RowsRun, list[str]]:
    """Run the stages that the gates need; also return the names of all that were asked for."""
    data, built = folder / "zoo.parquet", list[str]()
    if not data.exists():
        parquet(data, planted(), row_group_size=9)
    given = {
        "dataset": str(data), "crowd": CROWD, "reward_models": [REWARD], "budget": 5,
        "store": str(folder / "store"), "out": str(folder / "out"),
    }  # fmt: skip
    config = load(None, given | keys, {})
    runner = InProcess(Store(config.store))

    def noted(stage: Stage[Any], config: SelectConfig, *inputs: Any, **named: Any) -> Ref:
        built.append(stage.name)
        return runner(stage, config, *inputs, **named)

    return config, gated(config, run=noted), built


def test_one_row_and_equal_rows(tmp_path: Path) -> None:
    gates = {**GATES, "repetition": True, "duplicates": ["exact", "normalised", "near", "semantic"]}
    one = select(tmp_path / "one", planted()[5:6], quality=gates, budget=1)
    assert one.ids == ["row-005"]
    same = planted()[20:30]
    for number in same:
        number |= {"instruction": "Say it."} | {
            name: {"content": "It is said.", REWARD: 1.0 + i} for i, name in enumerate(NAMES)
        }
    equal = select(tmp_path / "equal", same, quality=gates, budget=1)
    assert equal.ids == ["row-020"]  # of equal scores the least id
    assert equal.manifest["summary"]["ineligible"] == {"duplicate_of": 9}


def test_what_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    absent = {"decontamination": [str(tmp_path / "absent.jsonl")]}
    with pytest.raises(ConfigError, match=r"absent\.jsonl: no such file"):
        select(tmp_path, quality=absent)
    with pytest.raises(ConfigError, match=r"quality\.only: the run would end after the gates"):
        select(tmp_path, quality={"broken": True, "only": True})
    assert not (tmp_path / "store").exists()
    frozen = {"dataset": str(tmp_path / "zoo.parquet"), "crowd": CROWD, "reward_models": [REWARD],
              "quality": {"broken": True}}  # fmt: skip
    with pytest.raises(ConfigError, match="pass --mode refit"):
        preflight.check(load(None, frozen, {}, flow="reselect"))


def test_a_reselection_tells_gates_apart_and_not_where_files_lie(tmp_path: Path) -> None:
    parquet(tmp_path / "zoo.parquet", planted(20))

    def measured(**gates: Any) -> dict[str, Any]:
        keys = {"dataset": str(tmp_path / "zoo.parquet"), "crowd": CROWD, "reward_models": [REWARD]}
        return measures(load(None, keys | ({"quality": gates} if gates else {}), {}))

    here, there = (with_benchmark(tmp_path / name)["decontamination"] for name in "ab")
    assert "quality" not in measured()
    assert measured(decontamination=here) == measured(decontamination=there)
    (tmp_path / "b" / "wonders.txt").write_text("Another prompt")
    assert measured(decontamination=here) != measured(decontamination=there)
    assert measured(broken=True) == measured(broken=True, only=True) != measured(refusals=True)


def test_scores_alone_have_nothing_to_look_at(tmp_path: Path) -> None:
    scores = pl.DataFrame({"id": ["a", "b"]} | {name: [1.0, 2.0] for name in NAMES})
    scores.write_parquet(tmp_path / "scores.parquet")
    keys: dict[str, Any] = {
        "dataset": str(tmp_path / "scores.parquet"), "crowd": CROWD, "reward_models": [REWARD],
        "quality": {"broken": True}, "store": str(tmp_path / "store"), "clusters": 0,
    }  # fmt: skip
    config = load(None, keys, {})
    with pytest.raises(DatasetError, match="so the quality gates have nothing to look at"):
        chosen(config, run=InProcess(Store(config.store)))


def test_the_gates_on_real_answers(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data")
    zoo = SHARED / "alpaca_zoo"
    gates = {
        "language": ["en"], "refusals": True, "broken": True, "duplicates": ["exact", "near"],
        "decontamination": [str(SHARED / n) for n in ("mt_bench", "arena_hard_v0.1", "ifeval")],
    }  # fmt: skip
    found = choose(
        tmp_path, dataset=str(zoo / "zoo.parquet"), crowd=str(zoo / "crowd.yaml"), budget=50,
        reward_models=["MiniLM-BT"], quality=gates, response="Meta-Llama-3.1-405B-Instruct-Turbo",
    )  # fmt: skip
    told = found.manifest["summary"]["quality"]
    # two instructions of AlpacaEval are MT-Bench's, word for word
    assert told["gates"]["decontamination"]["by_benchmark"] == {"mt_bench": 2}
    assert {e["kind"] for e in told["gates"]["decontamination"]["examples"]} == {"equal"}
    assert told["passed"] == found.manifest["summary"]["eligible"] >= 450
    # the one translation into French that was asked for
    assert 1 <= told["gates"]["language"]["removed"] <= 3

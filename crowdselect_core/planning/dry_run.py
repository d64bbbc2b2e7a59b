"""What a run would do: which stages are in the store, and which it would compute."""

from dataclasses import dataclass, field
from typing import Protocol

from crowdselect_core.annotate.factory import annotates
from crowdselect_core.cluster import annotating
from crowdselect_core.cluster.address import address_of
from crowdselect_core.cluster.executor import set_aside
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.planning import heldout
from crowdselect_core.planning.annotation_cost import most_bill, planned_bill
from crowdselect_core.planning.data_check import CheckedData, checked_data
from crowdselect_core.planning.generation_cost import bills
from crowdselect_core.planning.missing_work import MissingWork
from crowdselect_core.planning.stored_lookup import StoredLookup
from crowdselect_core.stages.base import P, Runner, Stage, refs_in
from crowdselect_core.stages.crowd.zoo import dataset_of
from crowdselect_core.stages.methods.annotations import ANNOTATIONS
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.util.text import plural

MARKED = "what is marked `on the Ray cluster` spreads over its nodes, the rest runs in this process"


class Story(Protocol):
    """The stages of a selection in their order, for whatever runs them."""

    def __call__(self, config: SelectConfig, *, run: Runner) -> object:
        """Run the stages."""
        ...


def forecast(config: SelectConfig, story: Story, flow: str = "select") -> list[str]:
    """Say what a run of this config would compute; the data set is checked, nothing is written.

    Where answers or scores are missing, the bill of making them comes first. What a method's model
    reads is the last line.

    Args:
        config: the resolved config.
        story: the stages in their order.
        flow: which flow would run.

    Raises:
        UserError: whatever the run itself would refuse before its first stage.
    """
    checked = checked_data(config, flow)
    if missing := checked.missing:
        return [*_live(config, checked), *_annotated(config, missing, story)]
    dataset, layout, rows = checked.dataset, checked.layout, checked.rows
    lines = [
        f"data set   {config.dataset.path}: {plural(rows, 'row')}, "
        f"{plural(len(config.models), 'crowd model')}, "
        f"{plural(len(layout.scores), 'score column')}, "
        f"{plural(len(layout.answers), 'answer column')}",
        f"prompt     {dataset.prompt_line()}",
        *heldout.line(config, dataset),
        f"budget     {config.token_budget or budget_words(config.budget)}",
        f"store      {config.store}",
        f"out        {config.out}",
    ]
    planner = Planner(Store(config.store), rows)
    story(config, run=planner)
    lines += [*executor_line(config), *planner.memory_line()]
    lines += [f"stage      {name}: {state}" for name, state in planner.states]
    return [*lines, *_annotations(planner)]


def live_forecast(config: SelectConfig, flow: str) -> list[str]:
    """Say what a run that only generates or scores would ask, and the bill of it.

    Args:
        config: the resolved config.
        flow: `generate` or `score`.

    Raises:
        UserError: see `forecast`; nothing is missing.
    """
    return _live(config, checked_data(config, flow))


def budget_words(budget: int | float) -> str:
    """Say a budget: a number of rows, or a share of the eligible ones."""
    if isinstance(budget, int):
        return plural(budget, "row")
    return f"{budget:.4%}".rstrip("0%").rstrip(".") + "% of the eligible rows"


def executor_line(config: SelectConfig, spreads: str = MARKED) -> list[str]:
    """Say where stages are computed, unless it is in this process.

    Args:
        config: the executor.
        spreads: what spreads over the cluster, and what does not.
    """
    executor = config.executor
    if executor.kind == "threads":
        return []
    at = address_of(executor.address).text
    return [
        f"executor   ray at {at}: at most {plural(executor.pending, 'part')} pending; {spreads}"
    ]


def _live(config: SelectConfig, checked: CheckedData) -> list[str]:
    missing, dataset = checked.missing, checked.dataset
    return [
        f"data set   {config.dataset.path}: {plural(checked.rows, 'row')}, "
        f"{plural(len(config.everyone), 'model')}, {len(missing.answers)} to generate answers, "
        f"{plural(len(missing.scores), 'reward model')} to score",
        f"prompt     {dataset.prompt_line()}",
        *heldout.line(config, dataset),
        f"store      {config.store}",
        f"out        {config.out}",
        *executor_line(config),
        *bills(config, missing),
    ]


def _annotated(config: SelectConfig, missing: MissingWork, story: Story) -> list[str]:
    """Say what the method's model reads of a live crowd's rows: at most, till all is answered."""
    ends = config.quality is not None and config.quality.ends_before_ranking
    if ends or not annotates(config):
        return []
    store = Store(config.store)
    zoo = StoredLookup(config, missing, store).zoo()
    if zoo is None:
        return [f"annotated  {most_bill(config, store, missing).line}"]
    planner = Planner(store)
    story(dataset_of(config, zoo), run=planner)
    return _annotations(planner)


def _annotations(planner: "Planner") -> list[str]:
    bills = [planned_bill(own, planner.store, inputs) for own, inputs in planner.annotations]
    return [f"annotated  {bill.line}" for bill in bills]


@dataclass(frozen=True)
class Planner:
    """Looks every stage of a story up in the store and computes nothing.

    Args:
        store: where the artifacts would be.
        rows: of the data set, which no stage has more of.
        states: each stage that was asked for, with `Cached` or `to compute`; after an input that
            is to be computed, everything is.
        annotations: the config and inputs of every stage of annotations that is not cached.
        memory: the bytes that Ray sets aside for a part of a stage that is to be computed there.
    """

    store: Store
    rows: int = 0
    states: list[tuple[str, str]] = field(default_factory=list)
    annotations: list[tuple[SelectConfig, tuple[object, ...]]] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)

    def memory_line(self) -> list[str]:
        """Say what memory Ray sets aside for a part, by stage, where it does for any."""
        alike: dict[int, list[str]] = {}
        for name, size in self.memory.items():
            alike.setdefault(size, []).append(name)
        if not alike:
            return []
        found = [f"{-(-size >> 20):,} MiB ({', '.join(names)})" for size, names in alike.items()]
        return [
            f"memory     Ray sets aside for a part {', '.join(found)}; where executor.resources "
            "states no memory, the part's shard and model come on top"
        ]

    def __call__(
        self, stage: Stage[P], config: SelectConfig, /, *inputs: P.args, **named: P.kwargs
    ) -> Ref:
        """Return the stage's artifact, or what stands for it."""
        read = list(refs_in([*inputs, *named.values()]))
        known = all(ref.is_computed for ref in read)
        found = self.store.find(stage.spec(config, *inputs, **named)) if known else None
        on_ray = config.executor.kind == "ray" and stage.needs is not None
        on_ray |= stage.name == ANNOTATIONS.name and annotating.spreads(config)
        todo = "to compute on the Ray cluster" if on_ray else "to compute"
        state = todo if found is None else f"Cached, {plural(found.rows, 'row')}"
        self.states.append((stage.name, state))
        if found is None and on_ray:
            rows = max((ref.rows for ref in read), default=0) if known else self.rows
            if size := set_aside(stage, config, rows):
                self.memory[stage.name] = size
        if found is None and stage.name == ANNOTATIONS.name:
            self.annotations.append((config, inputs))
        return Ref.to_compute(stage.name) if found is None else Ref.of(found)

"""The bill beforehand of a method whose model says something of every row.

Where the stages before it are in the store, it is what the run asks: every row and target without
an annotation, once. Else it is the most that can come, by the prompts of the data set. Tokens are
estimated as UTF-8 bytes / 4; a reply has at most max_tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from crowdselect_core.annotate.base import Row
from crowdselect_core.annotate.factory import kind_of
from crowdselect_core.cluster import annotating, serving
from crowdselect_core.config.engine import EngineConfig
from crowdselect_core.config.method_models import LanguageModel
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.prompts import prompt_key
from crowdselect_core.models.token_count import estimate
from crowdselect_core.planning.generation_cost import COUNTED, usable_prompts
from crowdselect_core.planning.heldout import left_out_rows
from crowdselect_core.planning.missing_work import MissingWork, without_missing
from crowdselect_core.planning.reading_bill import ReadingBill
from crowdselect_core.planning.scoring_cost import answer_tokens
from crowdselect_core.stages.crowd.throughput import read_pace
from crowdselect_core.stages.methods.annotated_rows import AnnotatedRows, cells_of
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.answers import mode_of
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.key_index import as_keys, cell_key


@dataclass
class AnnotationBill(ReadingBill):
    """What a method's model has to read."""

    method: str
    engine: EngineConfig | None
    rows: int = 0
    rows_a_second: float | None = None

    @property
    def hours(self) -> float | None:
        """Hours at the pace of an earlier run, or the engine's rate; None where none is known."""
        if self.rows_a_second:
            return self.rows / self.rows_a_second / 3600
        rate = self.engine.rate if self.engine is not None else None
        return self.completion_tokens / rate / 3600 if rate else None

    @property
    def line(self) -> str:
        """What the user sees."""
        words = [f"{self.counted(self.rows, 'row')} to read ({self.cached:,} cached)"]
        if self.rows:
            words += self.cost_words()
        return f"{self.method}: {', '.join(words)}"


def planned_bill(config: SelectConfig, store: Store, inputs: Sequence[object]) -> AnnotationBill:
    """Forecast what the stage `annotations` asks; nothing is asked or written.

    Args:
        config: the method and its model.
        store: where annotations are.
        inputs: of the stage, in its order: scores, metrics, answers, failed, model.
    """
    refs = [ref for ref in inputs if isinstance(ref, Ref)]
    scores, metrics, answers, *trained = refs
    if not all(ref.is_computed for ref in (scores, metrics, answers)):
        return most_bill(config, store, MissingWork((), ()))
    model = next((ref for ref in trained if ref.is_computed), None)
    work = AnnotatedRows(config, store, scores, metrics, answers, model)
    bill = _empty(config, store, certain=not trained or model is not None)
    _, bill.cached = work.count()
    for row in work.unannotated():
        _add(bill, config, row)
    return bill


def most_bill(config: SelectConfig, store: Store, missing: MissingWork) -> AnnotationBill:
    """Forecast the most that can be asked, by the prompts of the data set.

    An answer counts as the mean of the first ones of the models that may be kept. Rows are cached
    where that follows from their prompt alone.
    """
    bill, kind = _empty(config, store, certain=False), kind_of(config)
    dataset = open_dataset(without_missing(config, missing))
    cells = cells_of(config, store)
    cells.refresh()
    seen: set[bytes] = set()
    answer = _mean_answer(config, dataset, store, missing) if kind.reads_response else 0.0
    for target in kind.targets(config):
        _add(bill, config, Row(target.key, target.messages, "", target.response))
    for prompts in usable_prompts(dataset, left_out_rows(config, dataset)):
        keys = [cell_key(prompt_key(prompt.messages)) for prompt in prompts]
        absent = cells.missing(as_keys(keys)).tolist()
        for prompt, key, is_missing in zip(prompts, keys, absent, strict=True):
            if not kind.reads_response:
                if key in seen:
                    continue
                seen.add(key)
                if not is_missing:
                    bill.cached += 1
                    continue
            _add(bill, config, Row(key, prompt.messages, prompt.text), answer)
    return bill


def _empty(config: SelectConfig, store: Store, *, certain: bool) -> AnnotationBill:
    engine = kind_of(config).engine(config)
    servers = serving.placed(config.executor, engine)
    on_ray = "on the Ray cluster" if annotating.spreads(config) else servers
    bill = AnnotationBill(config.method, engine, certain=certain, on_ray=on_ray)
    pace = read_pace(store, cells_of(config, store).spec)
    if pace is not None and pace.calls:
        bill.rows_a_second = pace.calls_a_second
    if engine is not None:
        bill.price = engine.price
    return bill


def _add(bill: AnnotationBill, config: SelectConfig, row: Row, answer: float = 0.0) -> None:
    """Add one row, whose answer has so many tokens where the row is without it."""
    bill.rows += 1
    ask = kind_of(config).prompts
    if ask is None:
        return
    prompts = ask(config, row)
    bill.requests += len(prompts)
    bill.prompt_tokens += sum(estimate(prompts)) + answer
    bill.completion_tokens += len(prompts) * _model(config).sampling.max_tokens


def _model(config: SelectConfig) -> LanguageModel:
    sections: dict[str, LanguageModel] = {
        "instag": config.instag, "deita": config.deita, "direct-score": config.direct_score,
    }  # fmt: skip
    return sections[config.method]


def _mean_answer(
    config: SelectConfig, dataset: Dataset, store: Store, missing: MissingWork
) -> float:
    """Return the mean tokens of an answer that may be kept; of one to be made, what is expected."""
    part = dataset.partitions(COUNTED)[0]
    names, found = set(mode_of(config).models), list[float]()
    for model in config.models:
        leaf = dataset.layout.answers.get(model.name)
        if model.name not in names:
            continue
        if leaf is None:
            found.append(answer_tokens(store, model, missing))
            continue
        texts = (t for b in dataset.table.read(part, [leaf]) for t in b.arrays[leaf].to_pylist())
        counts = estimate([text for text in texts if text])
        found.append(sum(counts) / max(len(counts), 1))
    return sum(found) / max(len(found), 1)

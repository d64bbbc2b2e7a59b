"""Asking one crowd model for the answers that the store lacks."""

from collections.abc import Callable, Sequence
from functools import partial

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.answer_cells import cell_of
from crowdselect_core.generate.base import Answer, Engine, Failure, checked
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.generate.in_flight import in_flight_of
from crowdselect_core.stages.crowd.answer_requests import AnswerRequests
from crowdselect_core.stages.crowd.answer_texts import open_cells
from crowdselect_core.stages.crowd.finished_calls import finish
from crowdselect_core.stages.crowd.wanted import wanted, wanted_of
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import Keys
from crowdselect_core.store.cache.writer import CacheWriter


def generate(
    config: SelectConfig,
    store: Store,
    prompts: Ref,
    model: CrowdModel,
    engine: Engine,
    report: Callable[[CallTracker], None],
) -> CallTracker:
    """Ask for every answer that the store lacks; answers are committed as they come.

    Args:
        config: of the given data set.
        store: where cells and prompts are.
        prompts: the prompts.
        model: who answers.
        engine: through what.
        report: called before the first call and after every one.

    Raises:
        TooManyFailures: more calls failed than may.
    """
    dataset, artifact = open_dataset(config), prompts.open(store)
    cells = open_cells(store, model)
    cells.refresh()
    want = wanted(store, prompts, model.sampling.n)
    missing, open_shards = want.lacking(cells)
    cells.save_index()
    calls = CallTracker(
        model.name, missing, len(want) - missing, config.max_failure_rate, report,
        in_flight_of(engine),
    )  # fmt: skip
    if not missing:
        return calls
    report(calls)
    asked = AnswerRequests(dataset, artifact, model, cells, open_shards)
    with CacheWriter(cells, asked.committed) as writer, cells.work_sharing() as sharing:
        engine.run(
            calls.timed(asked.requests(sharing, calls)), partial(_take, calls, writer, asked)
        )
    finish(store, cells, calls)
    return calls


def count(cells: CallCache, prompts: Sequence[Keys], n: int) -> tuple[int, int]:
    """Count the answers that lack a cell and those that have one, of n samples of each prompt.

    Args:
        cells: refreshed.
        prompts: the prompts' keys, repeats among them; 20 bytes for each sample are held.
        n: samples.
    """
    want = wanted_of(prompts, n)
    missing, _ = want.lacking(cells)
    return missing, len(want) - missing


def _take(calls: CallTracker, writer: CacheWriter, asked: AnswerRequests, given: Answer) -> None:
    answer = checked(given)
    calls.finished(answer.key)
    if answer.error is None or answer.failure is Failure.ROW:
        writer.add(cell_of(answer))
    if answer.error is None:
        calls.success(answer.prompt_tokens, answer.completion_tokens)
    else:
        if answer.failure is not Failure.ROW:
            asked.unanswered(answer.key)
        calls.failure(answer.key, answer.error, answer.failure)

"""Win rates by a reward model: how often it scores a model's answer above the baseline's.

    win_rate = (wins + ties / 2) / n, from 0 to 1

over the prompts to which both have an answer with a score; the others are counted as unparsed. The
interval is a 95 % percentile bootstrap over prompts. Scores are cells of the reward model's
identity: the same answer is scored once, in a selection and here.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from crowdselect_core.chat import Message
from crowdselect_core.config.reward import RewardConfig
from crowdselect_core.evaluate.tally import Part, Result, Tally, as_results, by_category
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.generate.in_flight import in_flight_of
from crowdselect_core.ingest.prompts import prompt_key
from crowdselect_core.reward.base import Item, Scorer
from crowdselect_core.reward.score_cells import cells_of, take, text_digest
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.key_index import as_keys, cell_key
from crowdselect_core.store.cache.writer import CacheWriter

METRIC = "win_rate"
Answers = Mapping[str, tuple[Sequence[Message], str]]  # by prompt id: its messages, the answer
Scores = Mapping[str, float | None]  # by prompt id; None: the reward model has none


def score(
    store: Store,
    reward: RewardConfig,
    answers: Answers,
    open_scorer: Callable[[], Scorer],
    calls: CallTracker,
) -> Scores:
    """Return the score of every answer, computing those that the store lacks.

    Args:
        store: for the scores.
        reward: who scores; its main head counts.
        answers: what is scored; none is empty.
        open_scorer: called where a score lacks.
        calls: counts.

    Raises:
        TooManyFailures: more calls failed than may; the scores that came are stored.
    """
    cells = cells_of(store, reward)
    cells.refresh()
    keys = {prompt: score_key(messages, text) for prompt, (messages, text) in answers.items()}
    items = {
        keys[prompt]: Item(keys[prompt], tuple(messages), text)
        for prompt, (messages, text) in answers.items()
    }
    missing = cells.missing(as_keys(items))
    todo = [item for item, lacks in zip(items.values(), missing, strict=True) if lacks]
    calls.planned, calls.cached = len(todo), len(items) - len(todo)
    calls.report(calls)
    if todo:
        scorer = open_scorer()
        calls.in_flight = in_flight_of(scorer)
        with CacheWriter(cells) as writer:
            scorer.run(calls.timed(todo), partial(take, calls, writer))
        cells.merge(all_small=True)
        calls.check_failures()
    found = cells.read(as_keys(items)).select("key", "scores")
    by_key = {key: scores[0] if scores else None for key, scores in found.iter_rows()}
    return {prompt: by_key.get(key) for prompt, key in keys.items()}


def score_key(messages: Sequence[Message], text: str) -> bytes:
    """Return the key of the score of an answer."""
    return cell_key(prompt_key(messages), text_digest(text))


def win_rates(
    scores: Mapping[str, Scores],
    baseline: str,
    prompts: Sequence[str],
    category_of: dict[str, str],
    reward: str,
    seed: int,
) -> list[Result]:
    """Return the win rate of every model but the baseline.

    Args:
        scores: by model.
        baseline: whom the others are compared with.
        prompts: ids of all prompts; one without a score of both counts as unparsed.
        category_of: by prompt, where it has one.
        reward: name of the reward model.
        seed: of the bootstrap.
    """
    parts = [
        _part(model, prompt, own.get(prompt), scores[baseline].get(prompt))
        for model, own in scores.items()
        if model != baseline
        for prompt in prompts
    ]
    results: list[Result] = []
    for category, some in by_category(parts, category_of):
        tally = Tally.of(some)
        values_M, bounds_M = tally.value_M, tally.bounds(seed)
        results += as_results(tally, METRIC, category, reward, values_M, bounds_M)
    return results


def _part(model: str, prompt: str, own: float | None, other: float | None) -> Part:
    if own is None or other is None:
        return Part(model, prompt, 0.0, 0.0, 0, 1)
    return Part(model, prompt, 0.5 if own == other else float(own > other))

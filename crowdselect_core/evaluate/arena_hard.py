"""Arena-Hard v0.1 and v2: win rates against a baseline, plain and controlled for style.

Every model is compared with the baseline alone. In this star the Bradley-Terry win rate that the
official v0.1 script (0489bf3) fits is the weighted mean (wins + ties / 2) / battles, which is what
v2's (196f6b8) bootstrap has as its mean. `official` gives the numbers of their own bootstraps.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from crowdselect_core.evaluate import official_arena
from crowdselect_core.evaluate.arena_rows import Game, Games, Version
from crowdselect_core.evaluate.judgments import missing, unread
from crowdselect_core.evaluate.style import Style, missing_counts
from crowdselect_core.evaluate.style_control import Design, estimate
from crowdselect_core.evaluate.tally import Outcome, Part, Result, Tally, as_results

PLAIN, CONTROLLED = "win_rate", "win_rate_style_controlled"
EVEN = 50.0  # per cent: the baseline against itself


def evaluate(
    read: Games,
    category_of: Mapping[str, str],
    style: Style | None = None,
    official: bool = False,
    seed: int = 0,
) -> Outcome:
    """Compute win_rate and, where the answers' style is known, win_rate_style_controlled.

    Args:
        read: the games.
        category_of: of every question of the benchmark; empty where that is not known.
        style: of the answers; None: plain win rates alone.
        official: values and intervals as the official bootstraps give them.
        seed: of the bootstrap; the official one of v0.1 has its own.

    Returns:
        Percentages, one line for each judge, category and model; the baseline has 50 by definition.
    """
    outcome = Outcome([], list(read.notes))
    judges = sorted({game.judge for game in read.games}, key=lambda j: j or "")
    for judge in judges:
        own = [game for game in read.games if game.judge == judge]
        outcome.notes.extend(_gaps(own, judge, _expected(read.version, own, category_of)))
        incomplete = missing_counts(style, own) if style is not None else None
        if incomplete:
            outcome.notes.append(f"no {CONTROLLED} of {judge or 'the judge'}: {incomplete}")
        known = None if incomplete else style
        for category, games in _by_category(own):
            baselines = sorted({game.baseline for game in games})
            if len(baselines) > 1:
                outcome.notes.append(
                    f"no win rate over all categories: their baselines differ "
                    f"({', '.join(baselines)})"
                )
                continue
            group = Games(read.version, games, [])
            outcome.results.extend(_of_group(group, judge, category, known, official, seed))
    return outcome


def _of_group(
    group: Games,
    judge: str | None,
    category: str | None,
    style: Style | None,
    official: bool,
    seed: int,
) -> list[Result]:
    """Compute the games of one judge, one category and one baseline."""
    baseline = group.games[0].baseline
    tally = tally_of(group.games)
    if official:
        plain = official_arena.plain(group, tally)
    else:
        low_M, high_M = tally.bounds(seed)
        plain = 100 * tally.value_M, (100 * low_M, 100 * high_M)
    results = as_results(tally, PLAIN, category, judge, *plain)
    if style is not None and tally.weight_QM.any():
        design = Design.of(group.version, tally, style, baseline)
        by_style = official_arena.controlled(group, design) if official else estimate(design, seed)
        results += as_results(tally, CONTROLLED, category, judge, *by_style)
    metrics = dict.fromkeys(result.metric for result in results)
    even = Result("", category, baseline, judge, EVEN, EVEN, EVEN, n=0, unparsed=0)
    return results + [replace(even, metric=metric) for metric in metrics]


def tally_of(games: Sequence[Game]) -> Tally:
    """Add up games: the model's shares of the wins over the battles."""
    return Tally.of(
        [Part(g.model, g.question, g.share, float(g.weight), g.read, g.unparsed) for g in games]
    )


def _by_category(games: Sequence[Game]) -> list[tuple[str | None, list[Game]]]:
    """Group games by category; all of them come first, under None."""
    ordered = sorted((g for g in games if g.category is not None), key=lambda g: g.category or "")
    groups = groupby(ordered, key=lambda g: g.category)
    return [(None, list(games)), *((name, list(group)) for name, group in groups)]


def _expected(
    version: Version, games: Sequence[Game], category_of: Mapping[str, str]
) -> Collection[str]:
    """Return the questions that each model should be judged on; of v2, those of its categories."""
    if version == "v0.1" or not category_of:
        return category_of or {game.question for game in games}
    judged = {game.category for game in games}
    return [question for question, category in category_of.items() if category in judged]


def _gaps(games: Sequence[Game], judge: str | None, every: Collection[str]) -> list[str]:
    """Name questions without a judgment, and models many of whose verdicts cannot be read."""
    tally = tally_of(games)
    notes: list[str] = []
    for i, model in enumerate(tally.models):
        judged = {game.question for game in games if game.model == model}
        notes += missing(model, judge, judged, every)
        notes += unread(model, judge, tally.n[i], tally.unparsed[i])
    return notes

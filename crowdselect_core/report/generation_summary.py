"""The summary of a generation or scoring run: one line per model."""

from collections.abc import Sequence
from typing import Any

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.generate.identity import cache_spec, is_unpinned
from crowdselect_core.stages.crowd.answer_texts import Answered
from crowdselect_core.stages.crowd.throughput import read_pace
from crowdselect_core.stages.crowd.zoo import Member
from crowdselect_core.store.artifacts import Store


def answer_summary(store: Store, crowd: Sequence[Answered]) -> dict[str, dict[str, Any]]:
    """Return per model: answers, truncated, declined, empty, mean length, tokens/s, errors."""
    return {a.model.name: _answers(store, a) for a in crowd}


def _answers(store: Store, answered: Answered) -> dict[str, Any]:
    counts = answered.responses.counts
    answers = counts.get("answers", 0)
    pace = read_pace(store, cache_spec(answered.model)) if answered.generated else None
    return {
        "requests": answered.responses.rows,
        "answers": answers,
        "truncated": counts.get("truncated", 0),
        "declined": counts.get("error/content_filter", 0),
        "empty": counts.get("empty", 0),
        "mean_characters": round(counts.get("characters", 0) / answers, 1) if answers else None,
        "mean_tokens": round(counts.get("completion_tokens", 0) / answers, 1) if answers else None,
        "tokens_per_second": round(pace.rate, 1) if pace else None,
        "errors": errors_of(counts),
        "unknown_finish_reasons": _named(counts, "finish/"),
        "cached": answered.responses.cached,
        "unpinned": answered.generated and _unpinned(answered.model),
    }


def score_summary(members: Sequence[Member]) -> dict[str, dict[str, Any]]:
    """Return per reward model and model: scores, cut pairs, errors."""
    summary: dict[str, dict[str, Any]] = {}
    for member in members:
        for scored in member.scored:
            counts = scored.rewards.counts
            summary.setdefault(scored.reward, {})[member.name] = {
                "answers": scored.rewards.rows,
                "scores": counts.get("scores", 0),
                "truncated": counts.get("truncated", 0),
                "errors": errors_of(counts),
                "cached": scored.rewards.cached,
            }
    return summary


def errors_of(counts: Any) -> dict[str, int]:
    """Return the errors among an artifact's counts, by their short code."""
    return _named(counts, "error/")


def _named(counts: Any, prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in counts.items() if name.startswith(prefix)}


def answer_lines(summary: dict[str, dict[str, Any]]) -> list[str]:
    """Format the summary of answers for the console and the UI."""
    lines = []
    for name, counts in summary.items():
        words = [f"{counts['answers']:,} of {counts['requests']:,} answers"]
        words += [f"{counts[w]:,} {w}" for w in ("truncated", "declined", "empty") if counts[w]]
        words += [
            f"{n:,} {code}" for code, n in counts["errors"].items() if code != "content_filter"
        ]
        words += [
            f"{n:,} with unknown finish_reason {reason!r}"
            for reason, n in counts["unknown_finish_reasons"].items()
        ]
        if counts["mean_characters"] is not None:
            words.append(f"{counts['mean_characters']:,.0f} characters each")
        if counts["mean_tokens"]:
            words.append(f"{counts['mean_tokens']:,.0f} tokens each")
        if counts["tokens_per_second"]:
            words.append(f"{counts['tokens_per_second']:,.0f} tokens/s")
        words += ["all cached"] if counts["cached"] else []
        words += ["unpinned: the model behind this name may change"] if counts["unpinned"] else []
        lines.append(f"{name}: {', '.join(words)}")
    return lines


def score_lines(summary: dict[str, dict[str, Any]]) -> list[str]:
    """Format the summary of scores for the console and the UI."""
    lines = []
    for reward, models in summary.items():
        for name, counts in models.items():
            words = [f"{counts['scores']:,} of {counts['answers']:,} scores"]
            words += (
                [f"{counts['truncated']:,} truncated at max_length"] if counts["truncated"] else []
            )
            words += [f"{n:,} {code}" for code, n in counts["errors"].items()]
            words += ["all cached"] if counts["cached"] else []
            lines.append(f"{reward} of {name}: {', '.join(words)}")
    return lines


def _unpinned(model: CrowdModel) -> bool:
    return is_unpinned(cache_spec(model))

"""The gates that look at one row alone: its instruction and the answer that would be kept.

Each is a rule with keys of its own (`config.quality`); docs/quality.md states them all.
"""

from collections.abc import Callable, Mapping

from crowdselect_core.config.quality import QualityConfig
from crowdselect_core.config.row_gates import (
    BrokenGate,
    LanguageGate,
    LengthGate,
    LengthLimits,
    RefusalGate,
    RepetitionGate,
)
from crowdselect_core.quality.broken_text import broken_characters, has_open_fence, open_end
from crowdselect_core.quality.language import other_language
from crowdselect_core.quality.refusals import Refusals
from crowdselect_core.quality.repetition import Limits, repetition
from crowdselect_core.quality.shingles import words

# Takes an instruction and an answer; returns why the row is out, None where it passes.
Rule = Callable[[str, str], str | None]


def rules(quality: QualityConfig) -> Mapping[str, Rule]:
    """Return the rules of the row gates that are on, by their gate, in order."""
    found: dict[str, Rule] = {}
    if quality.language is not None:
        found["language"] = _language(quality.language)
    if quality.length is not None:
        found["length"] = _length(quality.length)
    if quality.refusals is not None:
        found["refusals"] = _refusals(quality.refusals)
    if quality.broken is not None:
        found["broken"] = _broken(quality.broken)
    if quality.repetition is not None:
        found["repetition"] = _repetition(quality.repetition)
    return found


def _language(gate: LanguageGate) -> Rule:
    def rule(instruction: str, response: str) -> str | None:
        for name, text in (("instruction", instruction), ("response", response)):
            if gate.of not in (name, "both"):
                continue
            of = (gate.languages, gate.min_probability, gate.min_letters)
            if other := other_language(text, *of):
                return f"{name} in {other[0]} ({other[1]:.2f})"
        return None

    return rule


def _length(gate: LengthGate) -> Rule:
    def rule(instruction: str, response: str) -> str | None:
        texts = (("instruction", instruction, gate.instruction),
                 ("response", response, gate.response))  # fmt: skip
        found = (_outside(name, text, limits) for name, text, limits in texts)
        return next((why for why in found if why), None)

    return rule


def _outside(name: str, text: str, limits: LengthLimits) -> str | None:
    """Say which limit a text does not keep."""
    sizes = [("characters", len(text), limits.min_characters, limits.max_characters)]
    if limits.min_words is not None or limits.max_words is not None:
        sizes.append(("words", len(words(text)), limits.min_words, limits.max_words))
    for unit, size, low, high in sizes:
        if low is not None and size < low:
            return f"{name} of {size:,} {unit}, fewer than {low:,}"
        if high is not None and size > high:
            return f"{name} of {size:,} {unit}, more than {high:,}"
    return None


def _refusals(gate: RefusalGate) -> Rule:
    refusals = Refusals(gate.patterns, gate.characters)
    return lambda _, response: refusals.found(response)


def _broken(gate: BrokenGate) -> Rule:
    def rule(instruction: str, response: str) -> str | None:
        texts = (("instruction", instruction), ("response", response))
        for name, text in texts if gate.characters else ():
            if lost := broken_characters(text):
                return f"{lost} in the {name}"
        if gate.code_fences and has_open_fence(response):
            return "code block without an end"
        if gate.unfinished and (end := open_end(response)):
            return f"response ends in {end!r}"
        return None

    return rule


def _repetition(gate: RepetitionGate) -> Rule:
    limits = Limits(**dict(gate))

    def rule(_: str, response: str) -> str | None:
        found = repetition(response, limits)
        return f"{found[0]} {found[1]:.2f}" if found else None

    return rule

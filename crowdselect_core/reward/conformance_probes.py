"""Texts of the conformance check: questions, each with a plainly better and a worse answer.

The worse answers are off the point, empty talk, refusals without a reason, or babble; the longer
answer is the better one in some pairs and the worse one in others, so that length does not decide.
"""

from typing import NamedTuple


class Probe(NamedTuple):
    """One question and two answers, of which the first is plainly the better one."""

    question: str
    better: str
    worse: str


PROBES = (
    Probe(
        "What is the capital of France?",
        "The capital of France is Paris.",
        "The capital of capital the is of of the a the.",
    ),
    Probe(
        "Explain why the sky looks blue.",
        "Air scatters the short waves of sunlight, which are blue, more than the long red ones, so "
        "blue light reaches our eyes from every direction.",
        "I do not know. I do not care. Ask somebody else.",
    ),
    Probe(
        "Give me three tips for sleeping better.",
        "Go to bed at the same hour every day, keep the room dark and cool, and drink no coffee "
        "after noon.",
        "tips tips tips tips tips tips tips tips tips tips tips tips tips tips tips tips tips tips "
        "tips tips tips tips tips tips tips tips",
    ),
    Probe(
        "How many days does a leap year have?",
        "A leap year has 366 days.",
        "Whatever. That is a silly question and I do not care about it, so ask somebody else.",
    ),
    Probe(
        "Translate 'good morning' into Spanish.",
        "'Good morning' is 'buenos días' in Spanish.",
        "morning the good good into a of the translate of of.",
    ),
    Probe(
        "How do I boil an egg?",
        "Put the egg into boiling water, wait eight minutes, then cool it under cold water and "
        "peel it.",
        "No. I will not answer this.",
    ),
    Probe(
        "Why do we have seasons?",
        "The axis of the Earth is tilted, so each half of it gets more sunlight in one part of the "
        "year and less in the other.",
        "seasons seasons seasons seasons seasons seasons",
    ),
    Probe(
        "Write a polite sentence that declines an invitation.",
        "Thank you very much for the invitation; I am sorry that I cannot come this time.",
        "polite a the of declines the the sentence an of of that a invitation the of a.",
    ),
    Probe(
        "What does a thermometer measure?",
        "A thermometer measures temperature.",
        "thermometer thermometer thermometer thermometer thermometer thermometer thermometer "
        "thermometer thermometer thermometer",
    ),
    Probe(
        "Name two animals that can fly.",
        "Bats and eagles can both fly.",
        "I do not know. Go away. I will not answer this, and I do not care about animals at all.",
    ),
    Probe(
        "What is 7 times 8?",
        "7 times 8 is 56.",
        "times the of 7 a of is 8 8 the what of the.",
    ),
    Probe(
        "How can I save water at home?",
        "Take short showers, repair taps that drip, and run the washing machine only when it is "
        "full.",
        "Whatever. I do not care.",
    ),
    Probe(
        "What is a library for?",
        "A library lends books to people and gives them a quiet place to read and study.",
        "library library library library",
    ),
    Probe(
        "Describe the taste of a lemon.",
        "A lemon tastes sour and fresh, with a little bitterness from its skin.",
        "lemon of the a taste the of of describe the a the the of lemon a.",
    ),
    Probe(
        "Why should I wash my hands before I eat?",
        "Washing removes germs from your hands that would otherwise get into your food and could "
        "make you ill.",
        "That is a silly question. Go away.",
    ),
    Probe(
        "Which planet is nearest to the Sun?",
        "Mercury is the planet nearest to the Sun.",
        "planet planet planet planet planet planet planet planet planet planet planet planet",
    ),
)

# Of very different lengths, so that a batch of them is mostly padding.
MIXED = (
    "Yes.",
    "Paris is the capital of France.",
    "It depends on what you need. " * 4,
    "First measure the board, then cut it, and smooth the edge with fine paper. " * 6,
    "Numbers, names and places follow one another in a long and winding account. " * 16,
)
MIXED_QUESTION = "Tell me something useful."

"""What the bills of models have in common that read what is there: answers, or rows."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

from crowdselect_core.config.engine import PriceConfig
from crowdselect_core.util.text import plural


@dataclass(kw_only=True)
class ReadingBill(ABC):
    """What one model has to do, as far as it can be known before.

    Args:
        certain: whether what it reads is known; else it is the most that can come.
        cached: what is read already.
        requests: to an LLM.
        prompt_tokens: of the requests.
        completion_tokens: of the requests, at most.
        price: of a token, or an hour.
        on_ray: what of it is on the Ray cluster.
    """

    certain: bool = True
    cached: int = 0
    requests: int = 0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    price: PriceConfig = field(default_factory=PriceConfig)
    on_ray: str | None = None

    @property
    @abstractmethod
    def hours(self) -> float | None:
        """Hours of the work; None where no pace is known."""

    @property
    def money(self) -> float:
        """At the prices of the config; 0 where it names none."""
        return self.price.cost(self.prompt_tokens, self.completion_tokens, self.hours)

    def counted(self, count: int, noun: str) -> str:
        """Return how many are read, in words."""
        return f"{'' if self.certain else 'at most '}{plural(count, noun)}"

    def cost_words(self, pace: str = "") -> Iterator[str]:
        """Yield the words of what the work costs; `pace` follows the hours."""
        if self.on_ray:
            yield self.on_ray
        if self.requests:
            yield plural(self.requests, "request")
            yield f"{self.prompt_tokens:,.0f} prompt tokens (UTF-8 bytes / 4)"
            yield f"{self.completion_tokens:,.0f} completion tokens (at most)"
        if self.hours is None:
            yield "hours unknown: run a pilot with --limit"
        else:
            yield f"{self.hours:,.2f} hours{pace}"
        if self.price != PriceConfig():
            yield f"{self.money:,.2f} at the configured prices"

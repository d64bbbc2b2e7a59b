"""Prompt and answer as the token ids that a reward model reads.

The chat template is the reward model's own, and token ids are what is sent on: a template writes
the BOS token itself, and text that passes a tokenizer once more would get a second one.
"""

from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError

from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.generate.base import Failure
from crowdselect_core.reward.base import Item, Score, unscored

TRY = Item(b"try", ({"role": "user", "content": "Hello."},), "Hello to you.")


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and its answer as token ids."""

    key: bytes
    ids: list[int]
    truncated: bool = False  # the end of the answer was cut


class PairEncoder:
    """Renders pairs with a reward model's own chat template."""

    def __init__(self, model: str, tokenizer: Any, max_length: int) -> None:
        """Keep the tokenizer and see that it has a template.

        Args:
            model: its name, for messages.
            tokenizer: of the reward model, from transformers.
            max_length: tokens after which a pair is cut on its right: the end of the answer goes,
                as it does for a tokenizer's own truncation.

        Raises:
            ConfigError: no chat template, or none that renders a prompt and an answer.
        """
        if not tokenizer.chat_template:
            raise ConfigError(
                f"reward model {model!r}: its tokenizer has no chat template, and a reward model "
                "is right only with the one it was trained with; expected chat_template in its "
                "tokenizer_config.json or a chat_template.jinja beside it"
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        tried = self.encode(TRY)
        if isinstance(tried, Score):
            raise ConfigError(f"reward model {model!r} cannot render a plain pair: {tried.error}")

    def encode(self, item: Item) -> Pair | Score:
        """Return the ids of a pair, or a score that says why there are none."""
        answer = {"role": "assistant", "content": item.text}
        try:
            ids = self.template_ids([*item.messages, answer])
            if len(ids) <= self.max_length:
                return Pair(item.key, ids)
            prompt = len(self.template_ids([*item.messages], add_generation_prompt=True))
        except TemplateError as e:  # roles that do not alternate, no place for a system message
            why = f"the reward model's chat template refuses the messages: {first_line(e)}"
            return unscored(item.key, "chat_template", why, Failure.ROW)
        if prompt >= self.max_length:  # every answer would get one and the same score
            why = f"{prompt} tokens, and max_length {self.max_length} leaves none for the answer"
            return unscored(item.key, "prompt_too_long", why, Failure.ROW)
        return Pair(item.key, ids[: self.max_length], truncated=True)

    def template_ids(self, messages: list[Any], add_generation_prompt: bool = False) -> list[int]:
        """Return the ids that the tokenizer's own chat template gives for messages."""
        return list(
            self.tokenizer.apply_chat_template(
                messages,
                tokenize=True,
                return_dict=False,
                add_generation_prompt=add_generation_prompt,
            )
        )


def set_pad_token(model: str, tokenizer: Any, config: Any) -> int:
    """Agree on the token that pads, in tokenizer and config, and return its id.

    A classifier with a decoder reads its score at the last token that is not the config's pad
    token, so that one is used where the two differ. Where neither names one it is EOS.

    Raises:
        ConfigError: there is no pad token and no EOS.
    """
    text_config = config.get_text_config()
    pad = text_config.pad_token_id
    if pad is None or pad < 0:
        pad = tokenizer.pad_token_id
    if pad is None:
        pad = tokenizer.eos_token_id
    if pad is None:
        raise ConfigError(
            f"reward model {model!r}: its tokenizer has neither a pad token nor EOS, expected "
            "pad_token in its tokenizer_config.json"
        )
    text_config.pad_token_id = config.pad_token_id = pad
    tokenizer.pad_token_id = pad
    return int(pad)


def last_read(ids: list[int], pad_id: int) -> list[int]:
    """Cut pad tokens off the end, where a classifier does not read its score.

    A template that ends with EOS where EOS pads is such a case; a server that pools the last token
    then reads the same place as the model's own code.
    """
    end = len(ids)
    while end > 1 and ids[end - 1] == pad_id:
        end -= 1
    return ids[:end]

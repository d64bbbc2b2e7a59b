"""Which tokens of a conversation are trained, by the base model's own chat template.

The text of a conversation is cut where an answer begins (after the generation prompt) and where its
end-of-turn token ends, and every piece is tokenised by itself, as a prompt is before a model
answers it. So exactly the answers and their ends of turn are trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from crowdselect_core.errors import ConfigError, first_line

Messages = Sequence[Mapping[str, str]]

IGNORED = -100  # label of a token that is not trained

# For a base model without a template: Tulu's format, which needs no new token.
TULU = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Tokens:
    """A row as the trainer takes it; the label of a token that is not trained is -100."""

    input_ids: list[int]
    labels: list[int]

    @property
    def trained(self) -> int:
        """Tokens that are trained; the first of a row has nothing before it."""
        return sum(label != IGNORED for label in self.labels[1:])

    @property
    def total(self) -> int:
        """Tokens that are computed."""
        return len(self.input_ids)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, the only one."""
        return len(self.input_ids)

    def cut(self, most: int) -> "Tokens":
        """Return the first `most` tokens."""
        return Tokens(self.input_ids[:most], self.labels[:most])


class ChatTurns:
    """Renders and tokenises conversations for one base model.

    Args:
        tokenizer: of the base model; one without a chat template is given Tulu's.
        train_on: the answers that are trained.
        where: whose tokenizer it is, for messages.

    Raises:
        ConfigError: it has neither a template nor an end-of-text token.
    """

    def __init__(
        self,
        tokenizer: Any,
        train_on: Literal["all", "last"] = "all",
        where: str = "training.base_model",
    ) -> None:
        self.tokenizer, self._last_only, self._where = tokenizer, train_on == "last", where
        if not tokenizer.chat_template:
            if not tokenizer.eos_token:
                raise ConfigError(
                    f"{where}: its tokenizer has neither a chat template nor an eos "
                    "token: give it one of them"
                )
            tokenizer.chat_template = TULU
        ends = {int(i) for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        self._ends = ends | {int(i) for i in tokenizer.all_special_ids}

    def tokens(self, messages: Messages) -> Tokens:
        """Tokenise a conversation.

        Raises:
            ConfigError: the template refuses it, does not show where an answer begins, or writes no
                end of turn.
        """
        whole, at = self._render(messages), 0
        input_ids: list[int] = []
        labels: list[int] = []
        for begin, end in self._answers(messages, whole, self._last_only):
            prompt = self._encode(whole[at:begin])
            answer = self._encode_answer(whole[begin:end])
            input_ids += prompt + answer
            labels += [IGNORED] * len(prompt) + answer
            at = end
        rest = self._encode(whole[at:])
        return Tokens(input_ids + rest, labels + [IGNORED] * len(rest))

    def answer(self, prompt: Messages, answer: str) -> tuple[list[int], list[int]]:
        """Tokenise a prompt and one answer to it; the answer ends with its end of turn.

        Raises:
            ConfigError: the template refuses it, does not show where the answer begins, or writes
                no end of turn.
        """
        messages = [*prompt, {"role": "assistant", "content": answer}]
        whole = self._render(messages)
        ((begin, end),) = self._answers(messages, whole, last_only=True)
        return self._encode(whole[:begin]), self._encode_answer(whole[begin:end])

    def _answers(self, messages: Messages, whole: str, last_only: bool) -> list[tuple[int, int]]:
        """Return where the trained answers and their ends of turn stand in the text."""
        turns = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
        spans = []
        for turn in turns[-1:] if last_only else turns:
            before = self._render(messages[:turn], prompt=True)
            upto = self._render(messages[: turn + 1])
            if not (whole.startswith(upto) and upto.startswith(before)):
                raise self._unfit(
                    "does not show where an answer begins or ends"
                    + ("" if last_only else " (of every turn; train_on: last needs only one)")
                )
            spans.append((len(before), len(upto.rstrip())))  # the line end is no part of an answer
        return spans

    def _encode_answer(self, text: str) -> list[int]:
        answer = self._encode(text)
        if not answer or answer[-1] not in self._ends:
            raise self._unfit("writes no end-of-turn token after an answer")
        return answer

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False)) if text else []

    def _render(self, messages: Messages, prompt: bool = False) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [dict(m) for m in messages], tokenize=False, add_generation_prompt=prompt
                )
            )
        except Exception as e:  # whatever the template raises of itself
            raise ConfigError(
                f"{self._where}: its chat template refuses a conversation: {first_line(e)}"
            ) from None

    def _unfit(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self._where}: its chat template {why}: change chat_template of its tokenizer, or "
            "name another model"
        )

"""From messages to token ids, by a tokenizer's chat template or a plain format.

Token ids rather than text go to the models: a chat template writes the BOS token itself, and a
tokenizer that is then given the text would add another. Special tokens that a message spells out
('<|im_end|>') are read as such, as vLLM's server reads them.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from crowdselect_core.chat import Message
from crowdselect_core.errors import ConfigError, first_line, shown

PLAIN_ROLES = {"system": "System", "user": "User", "assistant": "Assistant"}


PLAIN_STOP = "\n\nUser:"  # where an answer in the plain format ends: the next turn's beginning


# The plain format as a chat template, for servers; the same text as `_plain` and 'Assistant:'.
PLAIN_TEMPLATE = (
    "{%- for m in messages %}"
    "{%- if m['role'] not in ['system', 'user', 'assistant'] %}"
    "{{- raise_exception('expected the roles system, user, assistant') }}"
    "{%- endif %}"
    "{{- m['role'] | capitalize + ': ' + m['content'] }}"
    "{%- if not loop.last or add_generation_prompt %}{{- '\\n\\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- 'Assistant:' }}{%- endif %}"
)


# Options of transformers' apply_chat_template that a template itself may want to be given.
FOR_TEMPLATES = frozenset({"tools", "documents"})


class TemplateError(ValueError):
    """The chat template refuses the messages of one row (a system role, say)."""


def has_template(tokenizer: Any) -> bool:
    """Say whether a tokenizer has a chat template; without one the plain format is used."""
    return bool(getattr(tokenizer, "chat_template", None))


def prompt_ids(
    tokenizer: Any, messages: Sequence[Message], chat_template_kwargs: Mapping[str, Any]
) -> list[int]:
    """Return the token ids of a conversation up to the point where the assistant speaks.

    Without a chat template, in the plain format: turns 'System: ...', 'User: ...' and
    'Assistant: ...' with blank lines between them, and 'Assistant:' at the end, after the
    tokenizer's BOS token where it adds one.

    Raises:
        TemplateError: the template, or the plain format, cannot write these messages.
    """
    if not has_template(tokenizer):
        return _with_bos(tokenizer, f"{_plain(messages)}\n\nAssistant:")
    return _rendered(tokenizer, messages, chat_template_kwargs, True)


def pair_ids(
    tokenizer: Any,
    messages: Sequence[Message],
    answer: str,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> list[int]:
    """Return the token ids of a conversation with the assistant's answer at its end.

    Raises:
        TemplateError: as of `prompt_ids`.
    """
    whole = [*messages, Message(role="assistant", content=answer)]
    if not has_template(tokenizer):
        return _with_bos(tokenizer, _plain(whole))
    return _rendered(tokenizer, whole, chat_template_kwargs or {}, False)


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of a text, without any special token around it."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def padding_id(tokenizer: Any) -> int:
    """Return the id that rows are padded with: the pad token, else EOS, else 0; always masked."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def check_template_kwargs(where: str, tokenizer: Any, kwargs: Mapping[str, Any]) -> None:
    """Check that the options for the template are not options of the call around it.

    Raises:
        ConfigError: names the options.
    """
    parameters = inspect.signature(tokenizer.apply_chat_template).parameters.values()
    taken = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} - FOR_TEMPLATES
    found = sorted(taken & set(kwargs))
    if found:
        raise ConfigError(
            f"{where}: chat_template_kwargs holds {shown(found)}, which is not the template's to "
            "know; give only what the template itself reads, such as enable_thinking"
        )


def _rendered(
    tokenizer: Any, messages: Sequence[Message], kwargs: Mapping[str, Any], prompt: bool
) -> list[int]:
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            **kwargs,
            tokenize=False,
            add_generation_prompt=prompt,
        )
    except Exception as e:  # a template is a program: it may raise anything about a row
        raise TemplateError(first_line(e)) from e
    return text_ids(tokenizer, text)


def _plain(messages: Sequence[Message]) -> str:
    unknown = sorted({m["role"] for m in messages} - set(PLAIN_ROLES))
    if unknown or not messages:
        found = shown(unknown) or "no message"
        raise TemplateError(
            f"expected the roles {shown(PLAIN_ROLES)} in the plain format, found {found}"
        )
    return "\n\n".join(f"{PLAIN_ROLES[m['role']]}: {m['content']}" for m in messages)


def _with_bos(tokenizer: Any, text: str) -> list[int]:
    """Tokenise with the BOS token that the tokenizer adds, and with no EOS that it may add."""
    bos = tokenizer.bos_token_id
    adds = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return [bos, *text_ids(tokenizer, text)] if adds else text_ids(tokenizer, text)

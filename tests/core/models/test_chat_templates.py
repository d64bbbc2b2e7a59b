"""From messages to token ids: what a template writes is what the model reads, BOS included once."""

from pathlib import Path
from typing import Any

import pytest
from tinymodel import smollm_tokenizer

from crowdselect_core.chat import Message
from crowdselect_core.errors import ConfigError
from crowdselect_core.models.chat_templates import (
    PLAIN_TEMPLATE,
    TemplateError,
    has_template,
    pair_ids,
    prompt_ids,
)
from crowdselect_core.models.loading import load_tokenizer

pytestmark = pytest.mark.model
pytest.importorskip("transformers")
HELLO = [Message(role="system", content="Be kind."), Message(role="user", content="Hi {x} {{y}}")]
BOS_TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}"


def tokenizer(template: str | None, *, adds_bos: bool) -> Any:
    """Make a word tokenizer whose BOS is <s>, and which adds it or not."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = "<s> </s> <unk> [ ] : System User Assistant Be kind . Hi { } x y Yes {{ }} ]["
    made = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(words.split())}, unk_token="<unk>")
    )
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if adds_bos:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    wrapped.chat_template = template
    return wrapped


@pytest.mark.parametrize("adds_bos", [True, False])
def test_bos_stands_once(adds_bos: bool) -> None:
    made = tokenizer(BOS_TEMPLATE, adds_bos=adds_bos)
    for ids in (prompt_ids(made, HELLO, {}), pair_ids(made, HELLO, "Yes")):
        assert ids[0] == made.bos_token_id
        assert ids.count(made.bos_token_id) == 1
        assert made.eos_token_id not in ids


def test_the_plain_format_has_the_bos_that_the_tokenizer_adds() -> None:
    plain = tokenizer(None, adds_bos=True)
    assert not has_template(plain)
    expected = "System : Be kind . User : Hi { x } {{ y }} Assistant :"
    ids = prompt_ids(plain, HELLO, {})
    assert plain.decode(ids, skip_special_tokens=True) == expected
    assert [ids[0], ids.count(0), ids.count(1)] == [0, 1, 0]
    pair = pair_ids(plain, HELLO, "Yes .")
    assert pair[: len(ids)] == ids
    assert plain.decode(pair[len(ids) :]) == "Yes ."
    assert prompt_ids(tokenizer(None, adds_bos=False), HELLO, {}) == ids[1:]


def test_smollm2s_template_is_followed_to_the_token() -> None:
    made = smollm_tokenizer()
    start = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi {x} {{y}}<|im_end|>\n"
    ids = prompt_ids(made, HELLO, {})
    assert made.decode(ids) == start + "<|im_start|>assistant\n"
    pair = pair_ids(made, HELLO, "Yes")
    assert made.decode(pair) == start + "<|im_start|>assistant\nYes<|im_end|>\n"
    assert pair[: len(ids)] == ids


def test_kwargs_reach_the_template() -> None:
    made = tokenizer("{% if enable_thinking %}Yes{% else %}Hi{% endif %}", adds_bos=False)
    assert made.decode(prompt_ids(made, HELLO, {"enable_thinking": True})) == "Yes"
    assert made.decode(prompt_ids(made, HELLO, {"enable_thinking": False})) == "Hi"


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no system role') }}", "{{ messages[0].content + 1 }}"]
)
def test_a_template_that_cannot_write_the_messages_says_so(template: str) -> None:
    with pytest.raises(TemplateError):
        prompt_ids(tokenizer(template, adds_bos=False), HELLO, {})


def test_the_plain_format_knows_three_roles() -> None:
    with pytest.raises(TemplateError, match="found tool"):
        prompt_ids(tokenizer(None, adds_bos=False), [Message(role="tool", content="1")], {})


def test_a_folder_without_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a folder or hub id with tokenizer files"):
        load_tokenizer(str(tmp_path))
    tokenizer(BOS_TEMPLATE, adds_bos=True).save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).chat_template == BOS_TEMPLATE


def test_code_of_the_repository_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "Odd", "auto_map": {"AutoTokenizer": ["odd.Odd", null]}}'
    )
    (tmp_path / "odd.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigError, match="trust_remote_code: true"):
        load_tokenizer(str(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("turns", [1, 2, 4])
def test_the_plain_format_as_a_template_writes_the_same(turns: int) -> None:
    more = [Message(role="assistant", content="Yes\n"), Message(role="user", content="Be {x}")]
    messages = [*HELLO, *more, *more][:turns] if turns > 1 else HELLO[1:]
    plain = smollm_tokenizer()
    plain.chat_template = None
    server = smollm_tokenizer()
    server.chat_template = PLAIN_TEMPLATE
    assert prompt_ids(server, messages, {}) == prompt_ids(plain, messages, {})
    assert pair_ids(server, messages, "Yes") == pair_ids(plain, messages, "Yes")
    with pytest.raises(TemplateError):
        prompt_ids(server, [Message(role="tool", content="x")], {})

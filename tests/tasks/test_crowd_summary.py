"""What the UI shows of a live crowd is text, also where a server chose the words."""

import pytest

from tasks import crowd, finetune


@pytest.mark.parametrize("module", [crowd, finetune])
def test_words_of_a_server_are_no_markup(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(module, "create_markdown_artifact", lambda text, **_: shown.append(text))
    line = "m: 3 with unknown finish_reason '![x](http://x.invalid/p.png)'"
    if module is crowd:
        crowd.publish.fn("generation-summary", [line])
    else:
        monkeypatch.setattr(finetune, "curve_rows", lambda out: [])
        monkeypatch.setattr(finetune, "create_table_artifact", lambda rows, **_: None)
        finetune.publish.fn(crowd.SelectConfig.model_construct(out="o"), [line])
    assert r"\!\[x\]\(http\:" in shown[0]

"""Merging a LoRA adapter into its base model, in a work folder."""

from pathlib import Path

from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.util.extras import install


def merge(name: str, adapter: Path, base: str, revision: str | None, out: Path) -> None:
    """Merge an adapter into its base model by PEFT.

    It is computed in float32 and written in the number format in which the base is stored, so
    that both are run alike.

    Args:
        name: of the model, for messages.
        adapter: its folder.
        base: folder or hub id of the base model.
        revision: of the base model.
        out: the folder that is written.

    Raises:
        ConfigError: PEFT is not installed, or the adapter does not fit its base model.
        StorageError: there is no room for the merged weights.
    """
    from crowdselect_core.finetune.work_folder import check_room
    from crowdselect_core.models.causal_lm import Source
    from crowdselect_core.models.loading import load_tokenizer

    where = f"model {name!r}"
    try:
        from peft import PeftModel
    except ImportError:
        raise ConfigError(
            f"{where} is a LoRA adapter, and peft, which merges it, is not installed: "
            f"{install('finetune')}"
        ) from None
    loaded = Source(where, base, revision, "auto", "cpu").load()
    formats = {name: weights.dtype for name, weights in loaded.named_parameters()}
    room = sum(weights.numel() * weights.element_size() for weights in loaded.parameters())
    check_room(out.parent, room, "set TMPDIR to a larger disk")
    try:
        merged = PeftModel.from_pretrained(loaded.float(), str(adapter)).merge_and_unload()
    except (ValueError, RuntimeError, KeyError) as e:
        raise ConfigError(
            f"{where} does not fit its base model {base!r}: {first_line(e)}"
        ) from None
    for name, weights in merged.named_parameters():
        weights.data = weights.data.to(formats.get(name, loaded.dtype))
    merged.save_pretrained(out)
    has_own = (adapter / "tokenizer_config.json").is_file()
    tokenizer = load_tokenizer(str(adapter)) if has_own else load_tokenizer(base, revision)
    tokenizer.save_pretrained(out)

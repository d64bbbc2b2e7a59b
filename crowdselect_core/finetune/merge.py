"""LoRA merged into the weights of the base model, as an artifact beside the adapter."""

import shutil
import warnings
from pathlib import Path

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.finetune.base_model import BaseModel
from crowdselect_core.finetune.estimate import estimate
from crowdselect_core.finetune.files import Files, pack, unpack
from crowdselect_core.finetune.model_card import model_card
from crowdselect_core.finetune.recipe import weights_dtype
from crowdselect_core.finetune.work_folder import work_folder
from crowdselect_core.models.causal_lm import Source
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.heartbeat import heartbeat
from crowdselect_core.store.identity import Spec

STAGE, VERSION = "merged", 1
FOLDER = "model"
OF_THE_ADAPTER = ("adapter_model.safetensors", "adapter_config.json", "README.md")


def spec(config: TrainingConfig, model: str, gpu: bool) -> Spec:
    """Name the merged weights: the adapter's key and their number format."""
    return Spec(STAGE, VERSION, {"dtype": weights_dtype(config, gpu)}, {"model": model})


def merge(
    config: TrainingConfig, base: BaseModel, adapter: Artifact, store: Store, gpu: bool
) -> Artifact:
    """Merge an adapter into its base model's weights, on the CPU.

    W + (lora_alpha / r) B A of every adapted matrix, added in float32 and written in the number
    format that the weights had in training. The result holds the files of a full model.

    Args:
        config: the recipe.
        base: what the adapter was trained on.
        adapter: the trained model.
        store: where the result goes.
        gpu: whether it was trained on a GPU.

    Raises:
        UserError: the base model cannot be loaded, or a disk is full.
        DamagedArtifact: the adapter is damaged.
    """
    import torch
    from peft import PeftModel

    named = spec(config, adapter.key, gpu)
    source = Source("training.base_model", base.source, base.revision, "float32", "cpu")
    weights = estimate(config, source.config(), gpu).merged
    with heartbeat(store.place, named.folder), work_folder(2 * weights) as work:
        files = unpack(adapter, work / "adapter")
        trained = work / "adapter" / FOLDER
        with warnings.catch_warnings():  # PEFT still uses names that transformers has renamed
            warnings.simplefilter("ignore", FutureWarning)
            model = PeftModel.from_pretrained(source.load(), trained).merge_and_unload()
        merged = work / FOLDER
        model.to(getattr(torch, weights_dtype(config, gpu))).save_pretrained(merged)
        for name in _kept(files):
            shutil.copyfile(work / "adapter" / name, _made(work / name))
        told = {**adapter.manifest.facts["training"], "merged": True}
        (merged / "README.md").write_text(model_card(told), "utf-8")
        kept = [name for name in files if not name.startswith(f"{FOLDER}/")]
        names = [*kept, *(f"{FOLDER}/{path.name}" for path in merged.iterdir())]
        return pack(store, named, work, names, {"training": told})


def _kept(files: Files) -> list[str]:
    """Return the files of the adapter's artifact that the merged model has too: the tokenizer."""
    return [name for name in files if name.removeprefix(f"{FOLDER}/") not in OF_THE_ADAPTER]


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path

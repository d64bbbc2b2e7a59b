"""Figures of OUT as artifacts in the Prefect UI."""

from collections.abc import Iterable
from pathlib import PurePath

from prefect.artifacts import create_image_artifact

from crowdselect_core.report.figures.preview import preview_url
from crowdselect_core.report.text import markdown_text
from crowdselect_core.store.backend.open import open_backend

PATH = 400  # characters of a path that are shown


def show_figures(out: str, names: Iterable[str], prefix: str = "figure") -> None:
    """Show the PNG figures in OUT as artifacts in the Prefect UI, which cannot reach OUT.

    Args:
        out: where they are.
        names: of files in OUT.
        prefix: of the artifacts' keys.
    """
    for name in (n for n in names if n.endswith(".png")):
        create_image_artifact(
            preview_url(open_backend(out).read(name)),
            key=f"{prefix}-{PurePath(name).stem.replace('_', '-')}",
            description=f"The same in full size: {markdown_text(f'{out}/{name}', PATH)}",
        )

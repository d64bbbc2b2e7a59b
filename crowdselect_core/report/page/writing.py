"""OUT/report.html: written beside the results of a selection, and named in their manifest.

Its entry there has a key of everything that the page follows from, so a run that finds the same key
and the same bytes writes nothing.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.config.validation import checked
from crowdselect_core.errors import DamagedArtifact, ReportError, StorageError, UserError
from crowdselect_core.export import selection_files
from crowdselect_core.export.selection_files import MANIFEST, REPORT
from crowdselect_core.report.page import scripts
from crowdselect_core.report.page.page import page
from crowdselect_core.report.page.section import PageData
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.stages.select import instructions
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.identity import canonical
from crowdselect_core.store.out_files import check_replaceable, writing
from crowdselect_core.store.pending_files import size_and_sha256
from crowdselect_core.urls import shown_path
from crowdselect_core.util.notes import log_warning
from crowdselect_core.util.versions import version_of

VERSION = 1
# A page holds tables of all rows, so above so many it is made only where it is asked for.
MOST_ROWS = 3_000_000
ROW_BYTES = 600  # as measured with 1,000,000 rows x 19 scores
# What changes no page: how a run is executed.
EXECUTION = {"workers", "shard_rows", "credentials_block", "max_failure_rate", "report"}


@dataclass(frozen=True)
class Selected:
    """A selection that lies in an OUT.

    Args:
        config: that it was made with.
        inputs: its artifacts.
        texts: whether its data set is still the one that was chosen from.
    """

    config: SelectConfig
    inputs: SelectionArtifacts
    texts: bool


def key_of(config: SelectConfig, inputs: SelectionArtifacts, *, texts: bool) -> str:
    """Name a page: the export it stands beside, the config that it shows, and its own code."""
    names = set(SelectConfig.model_fields) - EXECUTION
    parts = {
        "version": [VERSION, version_of("crowdselect"), version_of("bokeh")],
        "code": sha256((scripts.own_script() + scripts.style()).encode()).hexdigest(),
        "export": selection_files.spec(config, inputs).key,
        "config": config.model_dump(mode="json", include=names),
        "texts": texts,
    }
    return sha256(canonical(parts)).hexdigest()


def find(
    config: SelectConfig, inputs: SelectionArtifacts, *, texts: bool = True
) -> dict[str, Any] | None:
    """Return OUT's manifest if its report is this selection's, byte for byte.

    Args:
        config: the resolved config.
        inputs: the artifacts of the run.
        texts: whether texts may be read; a report that has them will do in any case.
    """
    place = open_backend(config.out)
    manifest = _manifest(config, inputs)
    told = manifest["files"].get(REPORT, {}) if manifest else {}
    keys = {key_of(config, inputs, texts=with_texts) for with_texts in {texts, True}}
    if told.get("key") not in keys:
        return None
    try:
        data = place.read(REPORT)
    except FileNotFoundError:
        return None
    return manifest if sha256(data).hexdigest() == told.get("sha256") else None


def write(
    config: SelectConfig, store: Store, inputs: SelectionArtifacts, *, texts: bool = True
) -> dict[str, Any] | None:
    """Write OUT/report.html, and its entry into OUT/manifest.json; return the manifest.

    Where OUT has another selection by now, nothing is written: whose it is writes its own report.

    Args:
        config: the resolved config.
        store: where the artifacts are.
        inputs: the artifacts of the run.
        texts: whether texts may be read from the data set.

    Raises:
        ReportError: the page cannot be made.
        StorageError: OUT cannot be written.
        ConfigError: it holds a report.html that is not ours.
        DamagedArtifact: an artifact of the run is damaged.
    """
    place = open_backend(config.out)
    manifest = _manifest(config, inputs)
    if manifest is None:
        return None
    try:
        ranking = selection_files.ranking_table(config, store, inputs)
        data = page(PageData(config, store, inputs, ranking, manifest["summary"], texts))
    except (UserError, DamagedArtifact):
        raise
    except Exception as e:
        raise ReportError(
            f"{REPORT} could not be made ({type(e).__name__}: {e}); the other results are in "
            f"{config.out}, and 'python -m flows.report --out {config.out}' tries again"
        ) from e
    if _manifest(config, inputs) is None:  # another run may have written there meanwhile
        return None
    check_replaceable(place, [REPORT], config.out)
    stated = size_and_sha256(data)
    manifest["files"][REPORT] = {**stated, "key": key_of(config, inputs, texts=texts)}
    with writing(place, manifest["key"], {REPORT: stated}):
        place.replace_all({REPORT: data, MANIFEST: selection_files.encoded(manifest)})
    return manifest


def manifest_in(out: str) -> dict[str, Any]:
    """Read the manifest of what lies in an OUT, a selection or an experiment.

    Raises:
        StorageError: there is none that can be read, or the place cannot be reached.
    """
    manifest = selection_files.read_manifest(open_backend(out))
    if manifest is None:
        where = shown_path(out)
        raise StorageError(
            f"{where}: there is no manifest.json of a selection or an experiment, which a report "
            f"is made from; name the OUT of an earlier run, or run flows.select --out {where}"
        )
    return manifest


def selected(out: str) -> Selected:
    """Read what an OUT was made of, from its manifest.

    Raises:
        StorageError: there is no manifest of a selection, or the store has its artifacts no more.
    """
    manifest = manifest_in(out)
    told = {name: v for name, v in manifest["config"].items() if name in SelectConfig.model_fields}
    config = checked(
        SelectConfig, {**told, "out": out}, f"{out}/{MANIFEST}", StorageError
    ).resolved()
    store = Store(config.store)
    try:
        refs = {
            role: Ref.of(store.open(*str(name).split("/", 1)))
            for role, name in manifest["artifacts"].items()
        }
        inputs = SelectionArtifacts(**refs)
    except (DamagedArtifact, TypeError) as e:
        raise StorageError(
            f"{out}: the store {config.store} has not all that its report is made from ({e}); run "
            "flows.select again, with --store if it lies elsewhere"
        ) from None
    return Selected(config, inputs, _same_dataset(config, store, inputs))


def _same_dataset(config: SelectConfig, store: Store, inputs: SelectionArtifacts) -> bool:
    """Tell whether the data set is the one that was chosen from."""
    try:
        now = instructions.spec(config).key
    except UserError as e:
        log_warning(f"the report has only the texts that the store has: {e}")
        return False
    then = inputs.instructions.open(store).manifest
    if now in (then.key, *then.inputs.values()):
        return True
    log_warning("the data set has changed; the report has only the texts that the store has")
    return False


def _manifest(config: SelectConfig, inputs: SelectionArtifacts) -> dict[str, Any] | None:
    """Return OUT's manifest, None where it is not that of this selection."""
    found = selection_files.read_manifest(open_backend(config.out))
    is_ours = found is not None and found.get("key") == selection_files.spec(config, inputs).key
    return found if is_ours else None

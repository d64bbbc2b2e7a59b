"""Checking a whole store: every manifest, record, shard and segment against its own checksum.

Files are read piece by piece on a few threads, so memory does not grow with the store.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from hashlib import sha256

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store.admin.inventory import Folder, Inventory, sort_out
from crowdselect_core.store.admin.selection_records import records
from crowdselect_core.store.backend.base import FileInfo, StorageBackend
from crowdselect_core.store.cache import identity_file
from crowdselect_core.store.manifest import Manifest, Shard
from crowdselect_core.store.names import FILE, IDENTITY, INDEX, SEGMENT, SHARD_NAME

WORKERS = 4
AHEAD = 4  # files a worker that wait to be read
TAIL = 1 << 18  # bytes at the end of a file that hold what it tells of itself
# A parquet file ends in its footer, and that in what it tells; the last match is no row's text.
_OF = re.compile(rb'"of":"([a-z][a-z0-9_-]*/[0-9a-f]{64}(?:/part-\d{5,}-of-[0-9a-f]{8})?)"')

DAMAGED, MISSING, SWAPPED, FOREIGN = "damaged", "missing", "swapped", "foreign"

Progress = Callable[[int, int, int, int], None]  # files done, files, bytes done, bytes


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Args:
        kind: damaged, missing, swapped (holds what belongs to another name) or foreign.
        name: the file.
        why: what was found.
        removable: the next run makes it anew once it is gone.
    """

    kind: str
    name: str
    why: str
    removable: bool = False

    @property
    def is_damage(self) -> bool:
        """Whether something of the store is lost; a foreign file only lies there."""
        return self.kind != FOREIGN


@dataclass
class Verified:
    """What a check of a store found."""

    artifacts: int = 0
    cells: int = 0
    files: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the store is damaged or missing."""
        return not any(f.is_damage for f in self.findings)


def verify(
    place: StorageBackend, *, workers: int = WORKERS, progress: Progress | None = None
) -> Verified:
    """Check everything in a store.

    Raises:
        StorageError: the store cannot be read.
    """
    layout = sort_out(place.walk())
    done = Verified()
    done.findings += [
        Finding(FOREIGN, file.name, "is no file of a store; nothing reads it")
        for file in layout.foreign
    ]
    manifests = _manifests(place, layout, done)
    done.findings += _missing(place, layout, manifests)
    done.findings += _notes(place, layout)
    _contents(place, layout, manifests, done, workers, progress)
    done.findings.sort(key=lambda f: (f.name, f.kind))
    return done


def remove(place: StorageBackend, findings: list[Finding]) -> list[str]:
    """Remove what is damaged or swapped, if it still is, and return the names."""
    gone = []
    for finding in findings:
        if finding.removable and _is_still_bad(place, finding.name):
            place.remove(finding.name)
            gone.append(finding.name)
    return gone


def _manifests(place: StorageBackend, layout: Inventory, done: Verified) -> dict[str, Manifest]:
    """Read all manifests and return those that are whole, by folder."""
    whole: dict[str, Manifest] = {}
    named = {
        f"{f.name}/{FILE}": f for f in layout.folders.values() if f.is_committed and not f.is_cells
    }
    for name, data in place.read_all(named):
        if data is None:
            continue  # removed since it was listed, by a run that makes it anew
        folder = named[name]
        done.files += 1
        done.bytes += len(data)
        manifest, finding = _manifest(name, folder, data)
        if manifest is not None:
            whole[folder.name] = manifest
            done.artifacts += 1
        if finding is not None:
            done.findings.append(finding)
    return whole


def _manifest(name: str, folder: Folder, data: bytes) -> tuple[Manifest | None, Finding | None]:
    try:
        manifest = Manifest.decode(data)
    except DamagedArtifact as e:
        return None, Finding(DAMAGED, name, str(e), removable=True)
    if manifest.folder != folder.name:
        why = f"contains the manifest of {manifest.folder}"
        return None, Finding(SWAPPED, name, why, removable=True)
    return manifest, None


def _missing(
    place: StorageBackend, layout: Inventory, manifests: dict[str, Manifest]
) -> Iterator[Finding]:
    for folder in layout.folders.values():
        manifest = manifests.get(folder.name)
        wanted = manifest.shards if manifest else ()
        if any(shard.name not in folder.files for shard in wanted):
            there = place.sizes(folder.name)  # a run may have made it since it was listed
            for shard in wanted:
                if shard.name not in there:
                    yield Finding(MISSING, f"{folder.name}/{shard.name}", "is gone")


def _notes(place: StorageBackend, layout: Inventory) -> Iterator[Finding]:
    """Check what lies beside the data: whose cells a folder holds, and records of selections."""
    identities = [f"{f.name}/{IDENTITY}" for f in layout.folders.values() if IDENTITY in f.files]
    for name, data in place.read_all(identities):
        if data is not None and (why := _other_cells(name, data)):
            yield Finding(DAMAGED, name, why, removable=True)
    known: dict[str, bool] = {}  # artifacts that records name: whether they are there
    for read in records(place, layout):
        if read.damage:
            yield Finding(DAMAGED, read.name, read.damage)
        if read.lost:
            yield Finding(MISSING, read.name, f"names {read.lost}, which is missing")
        for folder in sorted(read.stands_on):
            if folder not in known:
                known[folder] = _is_committed(place, layout, folder)
            if not known[folder]:
                yield Finding(MISSING, read.name, f"names {folder}, which is not in the store")


def _is_committed(place: StorageBackend, layout: Inventory, folder: str) -> bool:
    listed = layout.folders.get(folder)
    # A run may have made it since it was listed.
    return (listed is not None and listed.is_committed) or FILE in place.sizes(folder)


def _other_cells(name: str, data: bytes) -> str:
    """Say why an identity.json is not the one of its folder ('' where it is)."""
    try:
        identity_file.decode(name.rpartition("/")[0], data)
    except DamagedArtifact as e:
        return str(e)
    return ""


def _contents(
    place: StorageBackend,
    layout: Inventory,
    manifests: dict[str, Manifest],
    done: Verified,
    workers: int,
    progress: Progress | None,
) -> None:
    """Hash all shards and segments, `workers` at a time."""
    data = [
        (file, _shards(manifests.get(folder.name)).get(name))
        for folder in layout.folders.values()
        for name, file in folder.hashed().items()
    ]
    owners = {_claimed(file.name): file.name for file, _ in data}
    files, size = done.files + len(data), done.bytes + sum(file.size for file, _ in data)

    def take(ready: set[Future[tuple[FileInfo, Finding | None]]]) -> None:
        for future in ready:
            file, finding = future.result()
            done.files += 1
            done.bytes += file.size
            if finding is not None:
                done.findings.append(finding)
            if progress:
                progress(done.files, files, done.bytes, size)

    done.cells = sum(f.is_cells for f in layout.folders.values())
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        waiting: set[Future[tuple[FileInfo, Finding | None]]] = set()
        try:
            for file, shard in data:
                waiting.add(pool.submit(_content, place, file, shard, owners))
                if len(waiting) >= workers * AHEAD:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    take(ready)
            take(waiting)
        finally:
            pool.shutdown(cancel_futures=True)


def _shards(manifest: Manifest | None) -> dict[str, Shard]:
    return {shard.name: shard for shard in manifest.shards} if manifest else {}


def _claimed(name: str) -> str:
    """Return the sha256 that the name of a shard, a segment or saved keys claims."""
    return name.removesuffix(".parquet").removesuffix(".keys").rsplit("-", 1)[-1]


def _content(
    place: StorageBackend, file: FileInfo, shard: Shard | None, owners: dict[str, str]
) -> tuple[FileInfo, Finding | None]:
    """Check one shard or segment."""
    try:
        digest, size, of = _digest(place, file.name, file.size)
    except FileNotFoundError:  # merged or removed by a run since it was listed
        gone = Finding(MISSING, file.name, "is gone") if shard else None
        return file, gone
    if digest != _claimed(file.name):
        if digest in owners:
            why = f"contains the bytes of {owners[digest]}"
            return file, Finding(SWAPPED, file.name, why, removable=True)
        return file, Finding(DAMAGED, file.name, "sha256 differs", removable=True)
    if of and of not in _owners(file.name):
        return file, Finding(SWAPPED, file.name, f"belongs to {of}", removable=True)
    if shard and size != shard.bytes:
        why = f"has {size} bytes, its manifest says {shard.bytes}"
        return file, Finding(DAMAGED, f"{file.name.rsplit('/', 1)[0]}/{FILE}", why, removable=True)
    return file, None


def _owners(name: str) -> tuple[str, str]:
    """Return what a shard or a segment tells of itself where it lies under its own name."""
    return name.rpartition("-")[0], name.rpartition("/")[0]


def _digest(place: StorageBackend, name: str, size: int) -> tuple[str, int, str]:
    """Return the sha256 of a file, its length, and whose it says that it is ('' if it does not)."""
    hashed, length = sha256(), 0
    before = last = b""
    for block in place.read_blocks(name, size):
        hashed.update(block)
        length += len(block)
        before, last = last, block
    tail = last if len(last) >= TAIL else before[-TAIL:] + last
    told = _OF.findall(tail[-TAIL:])
    return hashed.hexdigest(), length, told[-1].decode() if told else ""


def _is_still_bad(place: StorageBackend, name: str) -> bool:
    """Look again before anything goes: a run may have made it anew meanwhile."""
    folder, _, file = name.rpartition("/")
    stage, _, key = folder.partition("/")
    size = place.sizes(folder).get(file)
    if size is None:
        return False
    if any(form.fullmatch(file) for form in (SHARD_NAME, SEGMENT, INDEX)):
        digest, _, of = _digest(place, name, size)
        return digest != _claimed(file) or bool(of and of not in _owners(name))
    data = place.read(name)
    if file == IDENTITY:
        return bool(_other_cells(name, data))
    return _manifest(name, Folder(stage, key), data)[1] is not None

"""The command `python -m crowdselect_core.store`: ls, show, verify and gc for a whole store.

Exit 0: done. 1: verify found corrupt files. 2: an error that the user can correct. 130: stopped.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from crowdselect_core.errors import StorageError, UserError
from crowdselect_core.store.admin import gc, listing, verify
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.cache import identity_file
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.manifest import Manifest
from crowdselect_core.urls import is_url
from crowdselect_core.util.text import plain

OK, DAMAGE, MENDABLE, STOPPED = 0, 1, 2, 130
STORE = "CROWDSELECT_STORE"  # as the flows read it
DEFAULT = ".crowdselect"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    run: Callable[[StorageBackend, argparse.Namespace], int] = args.run
    try:
        return run(_opened(args.store), args)
    except UserError as e:
        print(f"error: {plain(str(e))}", file=sys.stderr)
        return MENDABLE
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED


def _opened(root: str) -> StorageBackend:
    place = open_backend(root)
    if not is_url(root) and not Path(place.root).is_dir():
        raise StorageError(f"{root}: no such store; pass its folder or URL by --store")
    return place


def list_all(place: StorageBackend, args: argparse.Namespace) -> int:
    """List the store."""
    found = listing.listed(place)
    if args.json:
        print(json.dumps(found.told(), indent=1))
    else:
        _say(listing.lines(found))
    return OK


def show(place: StorageBackend, args: argparse.Namespace) -> int:
    """Show one artifact, or the differences of two."""
    one = listing.opened(place, args.key)
    if args.other is None:
        print(_whole(one) if args.json else "\n".join(_shown(one)))
        return OK
    other = listing.opened(place, args.other)
    found = listing.compared(one, other)
    if args.json:
        print(json.dumps({"one": one.folder, "other": other.folder, "differences": found}))
    else:
        print(f"{one.stage}/{one.key[:12]} -> {other.stage}/{other.key[:12]}")
        _say([f"  {line}" for line in found] or ["  they are the same artifact"])
    return OK


def _whole(told: Manifest | Spec) -> str:
    data = told.encode() if isinstance(told, Manifest) else identity_file.encode(told)
    return data.decode().rstrip()


def _shown(told: Manifest | Spec) -> list[str]:
    if not isinstance(told, Manifest):
        return [told.folder, f"version {told.version}, cells", *_titled(told, ["identity"])]
    return _of_artifact(told)


def _titled(told: Manifest | Spec, titles: Iterable[str]) -> list[str]:
    head = []
    for title in titles:
        text = json.dumps(getattr(told, title), indent=1, sort_keys=True, ensure_ascii=False)
        lines = [plain(line) for line in text.splitlines()]
        head += [f"{title}: {lines[0]}", *(f"  {line}" for line in lines[1:])]
    return head


def _of_artifact(manifest: Manifest) -> list[str]:
    head = [
        f"{manifest.stage}/{manifest.key}",
        f"version {manifest.version}, {manifest.rows:,} rows, {len(manifest.shards):,} shards, "
        f"{listing.amount(sum(s.bytes for s in manifest.shards))}",
        *_titled(manifest, ["identity", "inputs", "counts", "facts"]),
    ]
    shards = [f"  {s.name[:26]}  {s.rows:>10,} rows  {s.bytes:>12,} B" for s in manifest.shards]
    return [*head, "shards:", *shards]


def check(place: StorageBackend, args: argparse.Namespace) -> int:
    """Verify the store."""
    progress = _Progress()
    started = time.monotonic()
    found = verify.verify(place, workers=args.workers, progress=progress)
    progress.end()
    removed = verify.remove(place, found.findings) if args.remove else []
    if args.json:
        told = {
            "artifacts": found.artifacts, "cells": found.cells, "files": found.files,
            "bytes": found.bytes, "findings": [asdict(f) for f in found.findings],
            "removed": removed,
        }  # fmt: skip
        print(json.dumps(told, indent=1))
        return OK if found.is_whole else DAMAGE
    _say(f"{f.kind}: {f.name}: {f.why}" for f in found.findings)
    seconds = max(time.monotonic() - started, 1e-3)
    print(
        f"{found.artifacts:,} artifacts and {found.cells:,} folders of cells, {found.files:,} "
        f"files, {listing.amount(found.bytes)} in {seconds:.1f} s "
        f"({listing.amount(found.bytes / seconds)}/s): {_verdict(found)}"
    )
    if args.remove:
        print(f"{len(removed)} files removed; the next run computes them again")
    return OK if found.is_whole else DAMAGE


def _verdict(found: verify.Verified) -> str:
    if found.is_whole:
        return "no errors"
    damage = [f for f in found.findings if f.is_damage]
    removable = any(f.removable for f in damage)
    return f"{len(damage)} damaged or missing" + ("; --remove removes them" if removable else "")


class _Progress:
    """A line on a terminal, or one every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._said = time.monotonic()

    def __call__(self, files: int, of_files: int, size: int, of_size: int) -> None:
        now = time.monotonic()
        if now - self._said < (0.2 if self._terminal else 10):
            return
        self._said = now
        line = (
            f"{files:,} of {of_files:,} files, {listing.amount(size)} of {listing.amount(of_size)}"
        )
        print(f"\r\x1b[K{line}" if self._terminal else line,
              end="" if self._terminal else "\n", file=sys.stderr, flush=True)  # fmt: skip

    def end(self) -> None:
        """Clear the line."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def collect(place: StorageBackend, args: argparse.Namespace) -> int:
    """Show or remove garbage."""
    before = time.time() - args.older_than
    found: Sequence[gc.Garbage] = gc.garbage(place, before, unused=args.unused)
    if args.delete:
        found = list(gc.delete(place, found, before))
    size = sum(g.bytes for g in found)
    if args.json:
        told = [{"why": g.why, "name": g.name, "files": [f.name for f in g.files],
                 "bytes": g.bytes, "modified": g.modified} for g in found]  # fmt: skip
        print(json.dumps({"deleted": args.delete, "bytes": size, "garbage": told}, indent=1))
        return OK
    _say(f"{g.why}: {g.name} ({len(g.files)} files, {listing.amount(g.bytes)})" for g in found)
    did = "removed" if args.delete else "not removed; --delete removes them"
    print(
        f"{len(found):,} unneeded, {listing.amount(size)}: {did}" if found else "nothing to remove"
    )
    return OK


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(plain(line))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m crowdselect_core.store", description="Inspect, verify and clean a store."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[StorageBackend, argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument(
            "--store", metavar="PATH_OR_URL", default=os.environ.get(STORE) or DEFAULT,
            help=f"the store (default: {STORE}, else {DEFAULT})",
        )  # fmt: skip
        made.add_argument("--json", action="store_true", help="print JSON")
        return made

    command("ls", list_all, "list artifacts and cells by stage")
    shows = command("show", show, "show an artifact or cells, or the fields in which two differ")
    shows.add_argument("key", metavar="KEY", help="first characters of a key, or of stage/key")
    shows.add_argument("other", metavar="OTHER", nargs="?", help="a second key, to compare")
    checks = command("verify", check, "check every manifest, shard and segment")
    text = "remove corrupt files, so that the next run computes them again"
    checks.add_argument("--remove", action="store_true", help=text)
    text = f"files read at the same time (default {verify.WORKERS})"
    checks.add_argument("--workers", type=_positive, default=verify.WORKERS, metavar="N", help=text)
    collects = command("gc", collect, "list files that no manifest needs; --delete removes them")
    collects.add_argument("--delete", action="store_true", help="remove the files")
    text = "only files older than this: 90s, 30m, 24h, 7d (default 24h)"
    collects.add_argument("--older-than", type=_age, default=_UNITS["d"], metavar="AGE", help=text)
    text = "also artifacts that no record in selections/ needs; refused during a run"
    collects.add_argument("--unused", action="store_true", help=text)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number from 1")
    return int(text)


def _age(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number and s, m, h or d (24h)")
    return float(match[1]) * _UNITS[match[2]]

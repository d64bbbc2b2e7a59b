"""What only S3 knows: many small objects in little time, and uploads that were never finished.

s3fs makes a few hundred requests a second, most of the time in Python. An object that is asked for
by a presigned URL costs a tenth of that, so thousands of manifests are read in seconds.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from crowdselect_core.store.backend.base import Upload

log = logging.getLogger("crowdselect.store")

AT_ONCE = 32  # requests in flight
FEW = 16  # so many objects are read one by one
VALID = 900  # seconds that a URL may be used; it is never shown or kept
LARGEST = 64 << 20  # bytes of a small object; a larger one is left to the ordinary way


def is_s3(fs: Any) -> bool:
    """Tell whether a file system speaks S3."""
    return hasattr(fs, "call_s3") and hasattr(fs, "_url")


def fetch(fs: Any, paths: Sequence[str]) -> dict[str, bytes]:
    """Return the objects that could be read the quick way; the others are to be read as usual.

    A proxy, a certificate of one's own or a refusal may all stand in the way: whatever went wrong
    is told by the ordinary read that follows.
    """
    if len(paths) <= FEW or not is_s3(fs):
        return {}
    from fsspec.asyn import sync

    found: dict[str, bytes] = sync(fs.loop, _fetch, fs, paths)
    return found


async def _fetch(fs: Any, paths: Sequence[str]) -> dict[str, bytes]:
    import aiohttp

    found: dict[str, bytes] = {}
    waiting = iter(paths)

    async def work(session: aiohttp.ClientSession) -> None:
        for path in waiting:
            try:
                url = await fs._url(path, expires=VALID)
                async with session.get(url, allow_redirects=False) as answer:
                    length = answer.content_length
                    if answer.status == 200 and length is not None and length <= LARGEST:
                        found[path] = await answer.read()
            except Exception as e:  # the rest is read the ordinary way, which tells what is wrong
                log.debug("an object could not be read by URL (%s)", type(e).__name__)
                return

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await asyncio.gather(*(work(session) for _ in range(AT_ONCE)))
    return found


def uploads(fs: Any, prefix: str) -> list[Upload]:
    """Return the unfinished uploads under `prefix` (bucket/path/)."""
    if not is_s3(fs):
        return []
    bucket, _, under = prefix.partition("/")
    found: list[Upload] = []
    more: dict[str, str] = {}
    while True:
        page = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=under, **more)
        found += [
            Upload(f"{bucket}/{one['Key']}", one["UploadId"], one["Initiated"].timestamp())
            for one in page.get("Uploads", [])
            if one["Key"].startswith(under)
        ]
        marks = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
        after = {name: page[mark] for name, mark in marks.items() if page.get(mark)}
        if not page.get("IsTruncated") or not after or after == more:
            return found
        more = after


def abort(fs: Any, path: str, upload: str) -> None:
    """Give an unfinished upload up; the server removes its pieces."""
    bucket, _, key = path.partition("/")
    fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)

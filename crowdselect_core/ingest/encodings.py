"""Text in another encoding than UTF-8 is refused by its name, before a parser stumbles over it."""

from crowdselect_core.errors import DatasetError

_MARKS = {  # byte order marks; the longer ones first
    b"\xff\xfe\x00\x00": "UTF-32 (little-endian)",
    b"\x00\x00\xfe\xff": "UTF-32 (big-endian)",
    b"\xff\xfe": "UTF-16 (little-endian)",
    b"\xfe\xff": "UTF-16 (big-endian)",
}
_MAGIC = {
    b"PAR1": "a parquet file",
    b"\x1f\x8b": "gzip data",
    b"\x28\xb5\x2f\xfd": "Zstandard data",
    b"PK\x03\x04": "a zip archive",
}


def refuse_other_encodings(shown: str, head: bytes) -> None:
    """Refuse a text file whose first bytes are not those of UTF-8 text.

    Raises:
        DatasetError: names the encoding, or what the file is instead, and what to do.
    """
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise DatasetError(f"{shown}: is {what} and no text; give it the suffix that says so")
    encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    encoding = encoding or _utf16_without_mark(head)
    if encoding:
        raise DatasetError(
            f"{shown}: is encoded as {encoding}, expected UTF-8; convert it: "
            f"{conversion(encoding.split(' ')[0])}"
        )


def not_utf8(shown: str, line: bytes, place: int) -> DatasetError:
    """Return the error of a line (with the byte `place`, from 0) that is no UTF-8."""
    return DatasetError(
        f"{shown}: byte {place + 1} of the line (0x{line[place]:02x}) is no UTF-8; the file may be "
        f"in Latin-1 or Windows-1252; convert it: {conversion('WINDOWS-1252')}"
    )


def conversion(encoding: str) -> str:
    """Return the command that makes a file UTF-8."""
    return f"iconv -f {encoding} -t UTF-8 FILE > NEW"


def _utf16_without_mark(head: bytes) -> str | None:
    """Recognise UTF-16 by its zero bytes: JSON and CSV begin with ASCII characters."""
    start = head[:64]
    if len(start) < 4:
        return None
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if odd > len(start) // 4 and even == 0:
        return "UTF-16LE (without a byte order mark)"
    if even > len(start) // 4 and odd == 0:
        return "UTF-16BE (without a byte order mark)"
    return None

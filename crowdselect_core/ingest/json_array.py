"""One JSON array of objects, as `alpaca_data.json` is, unrolled to one object a line.

The array is read block by block: memory holds a block and the element that it ends in.
"""

import codecs
import json
import re
from array import array
from collections.abc import Iterator
from typing import BinaryIO

from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.encodings import not_utf8

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_LONGEST = 1 << 28  # characters of one element


def unroll(shown: str, blocks: Iterator[bytes], out: BinaryIO) -> "array[int]":
    """Write the elements of an array as lines and return the line where each of them began.

    Raises:
        DatasetError: the file is no whole array of objects.
    """
    lines = array("Q")
    text = _Text(shown, blocks)
    text.take("[")
    while text.peek() != "]":
        if lines:
            text.take(",")
        if text.peek() != "{":
            raise text.wrong(f"element {len(lines) + 1} is {text.quote()}, expected an object")
        lines.append(text.line)
        element = text.element(len(lines))
        out.write(element.replace("\n", " ").replace("\r", " ").encode() + b"\n")
    text.take("]")
    if text.peek():
        raise text.wrong(
            f"after the end of the array comes {text.quote()}; expected one JSON array, or one "
            "object a line"
        )
    return lines


class _Text:
    """The text of a file, read as far as it is needed; `line` counts from 1."""

    def __init__(self, shown: str, blocks: Iterator[bytes]) -> None:
        self.shown, self.line = shown, 1
        self._blocks = blocks
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._ended = "", 0, False

    def peek(self) -> str:
        """Return the next character that is no white space; '' at the end."""
        while True:
            end = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            self._advance(end)
            if end < len(self._text):
                return self._text[end]
            if not self._more():
                return ""

    def take(self, wanted: str) -> None:
        """Read one character; refuse another."""
        if self.peek() != wanted:
            raise self.wrong(f"expected {wanted!r}, {self.quote()} comes there")
        self._advance(self._at + 1)

    def element(self, number: int) -> str:
        """Return the text of the object that begins here."""
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as e:
                size = len(self._text) - self._at
                if self._may_go_on(e) and size < _LONGEST and self._more(size):
                    continue
                if e.pos >= len(self._text) or e.msg.startswith("Unterminated"):
                    raise self.wrong(
                        f"the file ends in the middle of element {number}; it may be cut off"
                    ) from None
                self._advance(e.pos)
                raise self.wrong(f"element {number} is no JSON from {self.quote()} on") from None
            except RecursionError:
                raise self.wrong(f"element {number} is no JSON: it is nested too deep") from None
            element = self._text[self._at : end]
            self._advance(end)
            return element

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Tell an element whose end has not been read yet from one that is no JSON."""
        return error.msg.startswith("Unterminated") or error.pos > len(self._text) - 32

    def quote(self) -> str:
        """Return the next characters, as they are shown."""
        following = self._text[self._at : self._at + 20]
        return repr(following) if following else "the end of the file"

    def wrong(self, what: str) -> DatasetError:
        """Return an error at this line."""
        return DatasetError(f"{self.shown}, line {self.line}: {what}; correct the file")

    def _advance(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _more(self, least: int = 0) -> bool:
        """Read a block, or `least` characters; forget what has been taken. False at the end."""
        if self._ended:
            return False
        parts, size = [self._text[self._at :]], 0
        while size <= least and not self._ended:
            block = next(self._blocks, b"")
            self._ended = not block
            try:
                parts.append(self._decode.decode(block, final=self._ended))
            except UnicodeDecodeError as e:
                raise not_utf8(f"{self.shown}, near line {self.line}", e.object, e.start) from None
            size += len(parts[-1])
        self._text, self._at = "".join(parts), 0
        return True

"""What a process said last, for a message of one line."""


def last_line(words: bytes, most: int = 200) -> str:
    """Return the last line of an output that is not empty, cut; '' where there is none."""
    lines = words[-64 * 1024 :].decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:most]

"""Text from elsewhere, made safe to print."""


def plain(text: str) -> str:
    """Return a text as a terminal may show it: on one line, its control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

"""Text from elsewhere, made safe to print."""


def plain(text: str) -> str:
    """Return a text as a terminal may show it: on one line, its control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def excerpt(text: str, characters: int = 300) -> str:
    """Return the beginning of a text, as a report shows it."""
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: '1 row', '2,000 rows'."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")

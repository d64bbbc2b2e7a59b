"""Lists of instruction ids: a text file with one id a line, or a table with a column of them."""

from pathlib import Path

import polars as pl

from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.store import safe_parquet
from crowdselect_core.urls import expanded, shown_path


def read_ids(path: str) -> list[str]:
    """Read ids from a UTF-8 text file, one a line, or from the instruction_id of a parquet file.

    So the selection.parquet of an earlier run can be excluded from the next one.

    Raises:
        ConfigError: the file is missing, no UTF-8, no parquet table with instruction_id, or empty.
    """
    file, where = Path(expanded(path)), shown_path(path)
    try:
        if file.suffix == ".parquet":
            column = safe_parquet.decode(file.read_bytes(), ["instruction_id"])["instruction_id"]
            ids = column.drop_nulls().cast(pl.String).to_list()
        else:  # utf-8-sig: editors write a byte order mark, which is no part of the first id
            text = file.read_bytes().decode("utf-8-sig")
            ids = [i for line in text.split("\n") if (i := line.removesuffix("\r"))]
    except FileNotFoundError:
        raise ConfigError(f"{where}: no such file; expected ids, one a line") from None
    except (OSError, UnicodeDecodeError, safe_parquet.Unreadable, pl.exceptions.PolarsError) as e:
        cause = first_line(e) if where == path else type(e).__name__
        raise ConfigError(f"{where}: cannot be read as a list of ids: {cause}") from None
    if not ids:
        raise ConfigError(f"{where}: contains no id; write one per line, or leave the option out")
    return ids

"""Lists of instruction ids: a text file with one id a line, or a table with a column of them."""

from pathlib import Path

import polars as pl

from crowdselect_core.errors import ConfigError


def read_ids(path: str) -> list[str]:
    """Read ids from a UTF-8 text file, one a line, or from the instruction_id of a parquet file.

    So the selection.parquet of an earlier run can be excluded from the next one.

    Raises:
        ConfigError: the file is missing, no UTF-8, no parquet table with instruction_id, or empty.
    """
    file = Path(path)
    try:
        if file.suffix == ".parquet":
            ids = pl.read_parquet(file, columns=["instruction_id"])["instruction_id"].to_list()
        else:
            ids = [line for line in file.read_text("utf-8").split("\n") if line]
            ids = [line.removesuffix("\r") for line in ids]
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; expected ids, one a line") from None
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as e:
        cause = str(e).splitlines()[0][:160]
        raise ConfigError(f"{path}: cannot be read as a list of ids: {cause}") from None
    if not ids:
        raise ConfigError(f"{path}: holds no id; write one a line, or leave the option out")
    return [str(i) for i in ids]

"""Read tables of several kinds as pandas DataFrames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mme_sdk.errors import InvalidInputError, MissingExtraError

__all__ = ["frame_of"]


def frame_of(table: Any) -> Any:
    """Return a table as a pandas DataFrame.

    Args:
        table: A pandas DataFrame, an Arrow table, a mapping of columns, a sequence of rows, or the path of a `.csv`,
            `.csv.gz` or `.parquet` file.

    Returns:
        The DataFrame.

    Raises:
        InvalidInputError: The value is none of these, or the file does not exist or cannot be read.
        MissingExtraError: A Parquet file needs pyarrow, which is not installed.
    """
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, (str, Path)):
        return _read(Path(table))
    if hasattr(table, "to_pandas"):
        return table.to_pandas()
    if isinstance(table, Mapping) or (isinstance(table, Sequence) and not isinstance(table, bytes)):
        try:
            return pd.DataFrame(table)
        except ValueError as error:
            raise InvalidInputError(f"this {type(table).__name__} cannot be read as a table: {error}") from error
    raise InvalidInputError(
        f"a {type(table).__name__} is not a table", hint="pass a DataFrame, an Arrow table or a path"
    )


def _read(path: Path) -> Any:
    import pandas as pd

    if not path.is_file():
        raise InvalidInputError(f"the file {path} does not exist", hint="pass the path of a CSV or Parquet file")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except ImportError as error:
        raise MissingExtraError(
            f"reading {path} needs pyarrow", hint="pip install pyarrow, or pass a CSV file"
        ) from error
    except (ValueError, UnicodeDecodeError, OSError) as error:
        raise InvalidInputError(f"{path} cannot be read as a table: {error}") from error

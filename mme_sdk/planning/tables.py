"""Tables from wherever users have them, as pandas frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mme_sdk.errors import InvalidInputError, MissingExtraError

__all__ = ["frame_of"]


def frame_of(table: Any) -> Any:
    """A pandas frame.

    Args:
        table: A pandas frame, an Arrow table, a mapping of columns, a sequence of rows, or the path of a `.csv`,
            `.csv.gz` or `.parquet` file.

    Raises:
        InvalidInputError: It is none of these, or the file is absent or broken.
        MissingExtraError: Parquet without pyarrow.
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
            raise InvalidInputError(f"no table can be made of this {type(table).__name__}: {error}") from error
    raise InvalidInputError(f"a {type(table).__name__} is no table", hint="give a frame, an Arrow table or a path")


def _read(path: Path) -> Any:
    import pandas as pd

    if not path.is_file():
        raise InvalidInputError(f"there is no file {path}")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except ImportError as error:
        raise MissingExtraError(f"reading {path} needs pyarrow", hint="pip install pyarrow, or give a CSV") from error
    except (ValueError, UnicodeDecodeError, OSError) as error:
        raise InvalidInputError(f"{path} cannot be read as a table: {error}") from error

"""Data frame in, data frame out: rows grouped by model, sent a few hundred at a time, and put back in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from mme_sdk.errors import InvalidInputError, MissingExtraError, UndecodableReplyError
from mme_sdk.runtime.codecs import CSV
from mme_sdk.runtime.many import ItemResult
from mme_sdk.shapes.model import ModelVersion

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FramePart", "join_frame", "split_frame"]

Model = str | ModelVersion | None


@attrs.frozen(eq=False)
class FramePart:
    """Rows of one model.

    Attributes:
        model: Their target model.
        rows: Where they are in the whole frame.
        frame: The rows, without the column that named the model.
    """

    model: Model
    rows: list[int] = attrs.field(repr=False)
    frame: pd.DataFrame = attrs.field(repr=False)


def split_frame(
    frame: pd.DataFrame, model_of: str | Callable[[Any], Model] | None, rows_per_call: int
) -> Iterator[FramePart]:
    """Parts of a frame, each of one model.

    Args:
        frame: The whole.
        model_of: Column that names the target model, and is not sent; or a function of a row; None for one model.
        rows_per_call: Rows of a part, at most.

    Yields:
        The parts.

    Raises:
        InvalidInputError: No such column, or no rows per call.
    """
    if rows_per_call < 1:
        raise InvalidInputError(f"rows_per_call must be at least 1, not {rows_per_call!r}")
    if model_of is None:
        groups: Iterable[tuple[Model, list[int]]] = [(None, list(range(len(frame))))]
    else:
        if isinstance(model_of, str):
            if model_of not in frame.columns:
                raise InvalidInputError(
                    f"the frame has no column {model_of!r}", hint=f"it has {', '.join(map(str, frame.columns[:20]))}"
                )
            models = frame[model_of].tolist()
            frame = frame.drop(columns=model_of)
        else:
            models = [model_of(row) for _, row in frame.iterrows()]
        places: dict[Model, list[int]] = {}
        for place, model in enumerate(models):
            places.setdefault(model, []).append(place)
        groups = list(places.items())
    for model, rows in groups:
        for start in range(0, len(rows), rows_per_call):
            some = rows[start : start + rows_per_call]
            yield FramePart(model, some, frame.iloc[some])


def join_frame(frame: pd.DataFrame, results: Iterable[ItemResult[FramePart]]) -> pd.DataFrame:
    """The answers, in the order and with the index of the frame that was sent.

    Args:
        frame: What was sent.
        results: What became of its parts.

    Returns:
        One row a row: the answer's columns, or `prediction` where it has none; and `error`, which is None where there
        is an answer.

    Raises:
        UndecodableReplyError: An answer has not one row for each row that was sent.
    """
    pd = _pandas()
    parts, rows = [], []
    for result in results:
        part = result.item
        rows.extend(part.rows)
        if result.error is not None:
            parts.append(pd.DataFrame({"error": [result.error] * len(part.rows)}))
            continue
        answer = _as_frame(result)
        if len(answer) != len(part.rows):
            reply = result.reply
            raise UndecodableReplyError(
                f"{part.model} answered {len(part.rows)} rows with {len(answer)}",
                body=b"" if reply is None else reply.body,
                content_type="" if reply is None else reply.content_type,
                model=None if part.model is None else str(part.model),
            )
        parts.append(answer.assign(error=None))
    if not parts:
        return pd.DataFrame({"error": []}, index=frame.index)
    whole = pd.concat(parts, ignore_index=True)
    whole.index = rows
    whole = whole.sort_index()
    whole.index = frame.index
    return whole


def _as_frame(result: ItemResult[FramePart]) -> pd.DataFrame:
    pd = _pandas()
    reply = result.reply
    if reply is None:
        return pd.DataFrame()
    if reply.content_type.partition(";")[0].strip().lower() == CSV:
        return pd.DataFrame(_csv(reply.body))
    value = reply.value
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))  # {"predictions": [...]} and its like
    table = pd.DataFrame(value)
    return table.rename(columns={0: "prediction"}) if list(table.columns) == [0] else table.rename(columns=str)


def _csv(body: bytes) -> dict[str, list[Any]]:
    """Columns of a CSV answer; containers send no header unless it is no number."""
    import io

    pd = _pandas()
    first = body.split(b"\n", 1)[0]
    header = None if _numbers(first) else 0
    table = pd.read_csv(io.BytesIO(body), header=header)
    names = ["prediction"] if len(table.columns) == 1 and header is None else [str(name) for name in table.columns]
    return {name: table.iloc[:, place].tolist() for place, name in enumerate(names)}


def _numbers(line: bytes) -> bool:
    try:
        [float(cell) for cell in line.split(b",")]
    except ValueError:
        return False
    return True


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("data frames need pandas", hint="pip install 'mme-sdk[pandas]'") from error
    return pd

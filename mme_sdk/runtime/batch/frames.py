"""Data frame in, data frame out: rows grouped by model, sent a few hundred at a time, and put back in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from mme_sdk.errors import InvalidInputError, ModelInputError, RowCountError, UndecodableReplyError
from mme_sdk.runtime.batch.batch import ItemResult
from mme_sdk.runtime.payloads.answer_tables import (
    csv_columns,
    decode_frame,
    import_pandas,
    is_parquet,
    is_split,
    series_of,
    split_columns,
)
from mme_sdk.runtime.payloads.requests import check_target
from mme_sdk.types.matrix import media_type
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Reply

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FrameJoin", "FramePart", "split_frame"]

Model = str | ModelVersion | None
_PATIENCE = 8  # parts in a row, from the first, that the model may refuse before the whole frame is given up


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
) -> list[FramePart]:
    """Parts of a frame, each of one model.

    Args:
        frame: The whole.
        model_of: Column that names the target model, and is not sent; or a function of a row; None for one model.
        rows_per_call: Rows of a part, at most.

    Returns:
        The parts.

    Raises:
        InvalidInputError: It is not a frame, there is no such column, a row has no target model, or no rows per call.
        MissingExtraError: pandas is not installed.
    """
    pd = import_pandas()
    if not isinstance(frame, pd.DataFrame):
        raise InvalidInputError(
            f"invoke_frame takes a pandas.DataFrame, not a {type(frame).__name__}", hint="series.to_frame() is one"
        )
    if isinstance(rows_per_call, bool) or not isinstance(rows_per_call, int) or rows_per_call < 1:
        raise InvalidInputError(f"rows_per_call must be a whole number of at least 1, not {rows_per_call!r}")
    if model_of is not None and not isinstance(model_of, str) and not callable(model_of):
        raise InvalidInputError(
            f"model_of must be the name of a column or a function of a row, not {model_of!r}",
            hint=f"model_of=lambda row: row[{model_of!r}] takes a column whose name is not text",
        )
    if model_of is None:
        groups: dict[Model, list[int]] = {None: list(range(len(frame)))}
    else:
        if isinstance(model_of, str):
            places = [place for place, name in enumerate(frame.columns) if name == model_of]
            if len(places) != 1:
                raise InvalidInputError(
                    f"the frame has {'no column' if not places else f'{len(places)} columns named'} {model_of!r}",
                    hint=f"it has {', '.join(map(str, frame.columns[:20]))}",
                )
            models: list[Any] = frame.iloc[:, places[0]].tolist()
            frame = frame.iloc[:, [place for place in range(frame.shape[1]) if place != places[0]]]
        else:
            # As objects: rows of integers beside floats would otherwise be floats, and m7 become m7.0.
            models = [model_of(row) for _, row in frame.astype(object).iterrows()]
        groups = {}
        for place, model in enumerate(models):
            _check_model(model, place, model_of)
            groups.setdefault(model, []).append(place)
    return [
        FramePart(model, rows[start : start + rows_per_call], frame.iloc[rows[start : start + rows_per_call]])
        for model, rows in groups.items()
        for start in range(0, len(rows), rows_per_call)
    ]


def _check_model(model: Any, place: int, model_of: str | Callable[[Any], Model]) -> None:
    source = f"column {model_of!r}" if isinstance(model_of, str) else "model_of"
    if isinstance(model, ModelVersion) or (model is None and not isinstance(model_of, str)):
        return
    if not isinstance(model, str):
        raise InvalidInputError(
            f"row {place} of the frame has no target model: {source} gives {model!r}",
            hint="give each row the name of a model, or drop the row",
        )
    check_target(model)


class FrameJoin:
    """The answers, put together in the order and with the index of the frame that was sent.

    Args:
        frame: What was sent.
        parts: How many parts it was sent in.
    """

    def __init__(self, frame: pd.DataFrame, parts: int) -> None:
        self._index = frame.index
        self._parts = parts
        self._refused = 0
        self._accepted = False
        self._predictions: list[Any] = [None] * len(frame)
        self._errors: list[Any] = [None] * len(frame)
        self._named: dict[str, list[Any]] = {}
        self._taken: set[int] = set()

    def add(self, result: ItemResult[FramePart]) -> None:
        """Take the result of a part.

        Raises:
            InvalidInputError: The first part cannot be sent as it is.
            ModelInputError: The first parts were refused whole, for their form.
            RowCountError: An answer has not one row for each row that was sent.
            UndecodableReplyError: An answer is not a table.
        """
        if result.error is not None:
            self._judge(result.error)
        else:
            self._accepted = True
        self._take(result)

    def finish(self, results: Iterable[ItemResult[FramePart]]) -> pd.DataFrame:
        """The whole frame, also where the batch was ended early: an answer that is not a table is its rows' error then.

        Args:
            results: The results of all parts, those that were added included.
        """
        for result in results:
            if result.index not in self._taken:
                try:
                    self._take(result)
                except UndecodableReplyError as error:
                    self._fail(result.item, error)
        return self.whole()

    def _fail(self, part: FramePart, error: Exception) -> None:
        for place in part.rows:
            self._errors[place] = error

    def _take(self, result: ItemResult[FramePart]) -> None:
        part = result.item
        if result.error is not None:
            self._fail(part, result.error)
        elif result.reply is not None:
            self._answer(part, result.reply)
        self._taken.add(result.index)

    def _answer(self, part: FramePart, reply: Reply[Any]) -> None:
        predictions, named = _answers(reply, len(part.rows))
        for place, prediction in zip(part.rows, predictions, strict=True):
            self._predictions[place] = prediction
        for name, values in named.items():
            column = self._named.setdefault(name, [None] * len(self._errors))
            for place, value in zip(part.rows, values, strict=True):
                column[place] = value

    def whole(self) -> pd.DataFrame:
        """One row for each row: `prediction`, the columns that the answers name, and `error` (None for an answer)."""
        pd = import_pandas()
        columns = {"prediction": series_of(self._predictions)}
        columns |= {name: series_of(values) for name, values in self._named.items()}
        columns["error"] = pd.Series(self._errors, dtype=object)
        whole = pd.DataFrame(columns)
        whole.index = self._index
        return whole

    def _judge(self, error: Exception) -> None:
        """Raise an error that every other part would meet too."""
        if isinstance(error, (RowCountError, UndecodableReplyError)):
            raise error
        if self._accepted:
            return
        if isinstance(error, InvalidInputError) and not self._refused:
            raise error
        if not isinstance(error, ModelInputError):
            self._accepted = True  # it may be this model's or this moment's
            return
        self._refused += 1
        if error.original_status in (406, 415) or self._refused in (_PATIENCE, self._parts):
            more = "" if error.hint is None else f"; {error.hint}"
            error.hint = f"no row was accepted so far: is content_type=… what the model reads?{more}"
            raise error


def _answers(reply: Reply[Any], rows: int) -> tuple[list[Any], dict[str, list[Any]]]:
    """One answer for each row, and the columns that the answers name."""
    columns = _columns(reply)
    if columns is None:
        return _from_value(reply, rows)
    count = len(columns[0][1]) if columns else 0
    if count == 1 and len(columns) == rows and columns[0][0] is None:
        columns = [(None, [values[0] for _, values in columns])]  # all answers in one line, as XGBoost writes CSV
    elif count != rows:
        raise _miscounted(reply, rows, count)
    return _from_columns(columns)


def _from_columns(columns: Sequence[tuple[str | None, list[Any]]]) -> tuple[list[Any], dict[str, list[Any]]]:
    if len(columns) == 1 and columns[0][0] is None:
        return list(columns[0][1]), {}
    named = {str(place) if name is None else name: values for place, (name, values) in enumerate(columns)}
    if "prediction" in named:
        predictions = named.pop("prediction")
    elif len(named) == 1:
        predictions = next(iter(named.values()))
    elif all(name is None for name, _ in columns):
        predictions = [list(row) for row in zip(*named.values(), strict=True)] if named else []
    else:
        predictions = [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]
    named.pop("error", None)  # it stays in `prediction`; the column of this name says what failed here
    return list(predictions), named


def _columns(reply: Reply[Any]) -> list[tuple[str | None, list[Any]]] | None:
    """Columns of an answer that is a table by its type; None of any other."""
    pd, value = import_pandas(), reply.value
    if not isinstance(value, pd.DataFrame):
        try:
            if isinstance(value, str) and media_type(reply.content_type) == "text/csv":
                return csv_columns(reply.body, reply.content_type)
            if isinstance(value, dict) and is_split(value):
                return split_columns(value)
            if not isinstance(value, bytes) or not is_parquet(reply.body, reply.content_type):
                return None
            value = decode_frame(reply.body, reply.content_type)
        except ValueError as error:
            raise _unreadable(reply, str(error)) from error
    unnamed = list(value.columns) == list(range(value.shape[1]))
    return [
        (None if unnamed else str(name), value.iloc[:, place].astype(object).tolist())
        for place, name in enumerate(value.columns)
    ]


def _from_value(reply: Reply[Any], rows: int) -> tuple[list[Any], dict[str, list[Any]]]:
    value = reply.value
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()  # {"predictions": [...]} and its like
    if isinstance(value, dict):
        columns: list[tuple[str | None, list[Any]]] = []
        for name, one in value.items():
            member = _list(one)
            if isinstance(member, dict):
                raise _unreadable(reply, f"its member {name!r} is an object, not one value for each row")
            if isinstance(member, list) and len(member) != rows:
                raise _miscounted(reply, rows, len(member))
            # A member that is not a list, such as the model's name, is said of each row.
            title = "prediction" if name == "predictions" and "prediction" not in value else str(name)
            columns.append((title, member if isinstance(member, list) else [member] * rows))
        if all(not isinstance(_list(one), list) for one in value.values()):
            raise _unreadable(reply, "none of its members is a list of one value for each row")
        return _from_columns(columns)
    answers = _list(value)
    if not isinstance(answers, list):
        raise _unreadable(reply, f"a {type(value).__name__} is not one answer for each row")
    if len(answers) != rows:
        raise _miscounted(reply, rows, len(answers))
    if answers and all(isinstance(answer, dict) for answer in answers):
        names = dict.fromkeys(name for answer in answers for name in answer)
        predictions, named = _from_columns([(name, [one.get(name) for one in answers]) for name in names])
        return (predictions if len(names) == 1 or "prediction" in names else answers), named
    widths = {len(answer) if isinstance(answer, list) else None for answer in answers}
    if len(widths) == 1 and None not in widths and widths != {0}:
        return _from_columns([(None, list(column)) for column in zip(*answers, strict=True)])
    return answers, {}


def _list(value: Any) -> Any:
    """An array as nested lists; anything else as it is."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _miscounted(reply: Reply[Any], rows: int, answers: int) -> RowCountError:
    return RowCountError(
        f"{reply.model or reply.endpoint} answered {rows:,} rows with {answers:,}",
        rows=rows,
        answers=answers,
        body=reply.body,
        content_type=reply.content_type,
        endpoint=reply.endpoint or None,
        model=reply.model,
        request_id=reply.request_id,
    )


def _unreadable(reply: Reply[Any], why: str) -> UndecodableReplyError:
    return UndecodableReplyError(
        f"the reply of {reply.model or reply.endpoint} ({reply.content_type}) is not a table: {why}",
        body=reply.body,
        content_type=reply.content_type,
        endpoint=reply.endpoint or None,
        model=reply.model,
        request_id=reply.request_id,
    )

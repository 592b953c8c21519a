"""`invoke_frame`: group the rows of a frame by model, and put the answers back in the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from mme_sdk._validation import check_number
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

__all__ = ["FrameJoin", "FramePart", "check_answer", "row_count_error", "split_frame"]

Model = str | ModelVersion | None
_MAX_REJECTED = 8  # requests in a row, from the first, that the model may reject before `invoke_frame` fails


@attrs.frozen(eq=False)
class FramePart:
    """Rows of one request.

    Attributes:
        model: Target model of the rows. None for a single-model endpoint.
        rows: Positions of the rows in the whole frame.
        frame: The rows, without the column with the target model.
    """

    model: Model
    rows: list[int] = attrs.field(repr=False)
    frame: pd.DataFrame = attrs.field(repr=False)


def split_frame(
    frame: pd.DataFrame, model_of: str | Callable[[Any], Model] | None, rows_per_call: int
) -> list[FramePart]:
    """Return the parts of a frame. Each part has one target model.

    Args:
        frame: The frame.
        model_of: Column with the target model, or a function of a row. None for a single-model endpoint.
        rows_per_call: Largest number of rows of a part.

    Returns:
        The parts.

    Raises:
        InvalidInputError: `frame` is not a frame, the column does not exist, a row has no target model, or
            `rows_per_call` is not a whole number of at least 1.
        MissingExtraError: pandas is not installed.
    """
    pd = import_pandas()
    if not isinstance(frame, pd.DataFrame):
        raise InvalidInputError(
            f"invoke_frame takes a pandas.DataFrame, not a {type(frame).__name__}",
            hint="convert a series with to_frame(), and rows in a list or dict with pandas.DataFrame(rows)",
        )
    check_number("rows_per_call", rows_per_call, at_least=1, integer=True)
    if model_of is not None and not isinstance(model_of, str) and not callable(model_of):
        raise _wrong_model_of(model_of)
    if model_of is None:
        groups: dict[Model, list[int]] = {None: list(range(len(frame)))}
    else:
        if isinstance(model_of, str):
            places = [place for place, name in enumerate(frame.columns) if name == model_of]
            if len(places) != 1:
                raise InvalidInputError(
                    f"the frame has {'no column' if not places else f'{len(places)} columns named'} {model_of!r}",
                    hint=f"its columns are {', '.join(map(str, frame.columns[:20]))}",
                )
            models: list[Any] = frame.iloc[:, places[0]].tolist()
            frame = frame.iloc[:, [place for place in range(frame.shape[1]) if place != places[0]]]
        else:
            # Converted to objects, because pandas otherwise turns the integers of a row with floats into floats.
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


def _wrong_model_of(model_of: Any) -> InvalidInputError:
    shown, hint = repr(model_of), f"for a column whose name is not a str, pass model_of=lambda row: row[{model_of!r}]"
    if isinstance(model_of, ModelVersion):
        hint = f"model_of=lambda row: {model_of.target_model!r} gives each row the same"
    elif getattr(model_of, "__hash__", None) is None:  # a series, an array or a list: not the name of a column
        shown = f"a {type(model_of).__name__}"
        hint = "put the models into a column: frame.assign(model=…), and model_of='model'"
    return InvalidInputError(f"model_of must be the name of a column or a function of a row, not {shown}", hint=hint)


def _check_model(model: Any, place: int, model_of: str | Callable[[Any], Model]) -> None:
    source = f"column {model_of!r} has" if isinstance(model_of, str) else "model_of returned"
    if isinstance(model, ModelVersion) or (model is None and not isinstance(model_of, str)):
        return
    if not isinstance(model, str):
        raise InvalidInputError(
            f"row {place} of the frame has no target model: {source} {model!r}",
            hint="set a target model in each row, or drop the row",
        )
    check_target(model)


class FrameJoin:
    """Joins the answers into a frame with the order and the index of the frame that was sent.

    Args:
        frame: The frame that was sent.
        parts: Number of its parts.
    """

    def __init__(self, frame: pd.DataFrame, parts: int) -> None:
        self._index = frame.index
        self._parts = parts
        self._rejected = 0
        self._accepted = False  # if True, an error no longer means that every request would fail
        self._predictions: list[Any] = [None] * len(frame)
        self._errors: list[Any] = [None] * len(frame)
        self._named: dict[str, list[Any]] = {}
        self._added: set[int] = set()

    def add(self, result: ItemResult[FramePart]) -> None:
        """Add the result of a part.

        Raises:
            InvalidInputError: The first part cannot be sent.
            ModelInputError: The model rejected the form of the first parts.
            RowCountError: An answer has more or fewer rows than its part.
            UndecodableReplyError: An answer is not a table.
        """
        if result.error is not None:
            self._raise_if_common(result.error)
        else:
            self._accepted = True
        self._put(result)

    def finish(self, results: Iterable[ItemResult[FramePart]]) -> pd.DataFrame:
        """Return the whole frame. Used for a batch that ended early too.

        Args:
            results: The results of all parts, including those already added. Of one that is not, an answer that is
                not a table becomes the error of its rows.
        """
        for result in results:
            if result.index not in self._added:
                try:
                    self._put(result)
                except UndecodableReplyError as error:
                    self._fail(result.item, error)
        return self.whole()

    def _fail(self, part: FramePart, error: Exception) -> None:
        for place in part.rows:
            self._errors[place] = error

    def _put(self, result: ItemResult[FramePart]) -> None:
        part = result.item
        if result.error is not None:
            self._fail(part, result.error)
        elif result.reply is not None:
            self._answer(part, result.reply)
        self._added.add(result.index)

    def _answer(self, part: FramePart, reply: Reply[Any]) -> None:
        predictions, named = _answers(reply, len(part.rows))
        for place, prediction in zip(part.rows, predictions, strict=True):
            self._predictions[place] = prediction
        for name, values in named.items():
            column = self._named.setdefault(name, [None] * len(self._errors))
            for place, value in zip(part.rows, values, strict=True):
                column[place] = value

    def whole(self) -> pd.DataFrame:
        """Return a frame of `prediction`, the columns of the answers, and `error`, with one row for each row sent."""
        pd = import_pandas()
        columns = {"prediction": series_of(self._predictions)}
        columns |= {name: series_of(values) for name, values in self._named.items()}
        columns["error"] = pd.Series(self._errors, dtype=object)
        whole = pd.DataFrame(columns)
        whole.index = self._index
        return whole

    def _raise_if_common(self, error: Exception) -> None:
        """Raise the error if every other part would fail with it too."""
        if isinstance(error, (RowCountError, UndecodableReplyError)):
            raise error
        if self._accepted:
            return
        if isinstance(error, InvalidInputError) and not self._rejected:
            raise error
        if not isinstance(error, ModelInputError):
            self._accepted = True  # the cause may be this one model, or temporary
            return
        self._rejected += 1
        if error.original_status in (406, 415) or self._rejected in (_MAX_REJECTED, self._parts):
            more = "" if error.hint is None else f"; {error.hint}"
            error.hint = f"the model accepted no row so far; pass content_type= as a media type that it reads{more}"
            raise error


def check_answer(reply: Reply[Any], rows: int) -> None:
    """Raise an error if an answer is not a table of a number of rows.

    Args:
        reply: The answer.
        rows: Number of rows of the request.

    Raises:
        RowCountError: It has more or fewer rows.
        UndecodableReplyError: It is not a table.
    """
    _answers(reply, rows)


def _answers(reply: Reply[Any], rows: int) -> tuple[list[Any], dict[str, list[Any]]]:
    """Return the prediction of each row, and the columns of the answers by name."""
    columns = _columns(reply)
    if columns is None:
        return _from_value(reply, rows)
    count = len(columns[0][1]) if columns else 0
    if count == 1 and len(columns) == rows and columns[0][0] is None:
        columns = [(None, [values[0] for _, values in columns])]  # all predictions in one line, as XGBoost writes CSV
    elif count != rows:
        raise row_count_error(reply, rows, count)
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
    named.pop("error", None)  # the column of this name holds the errors of the calls; the values stay in `prediction`
    return list(predictions), named


def _columns(reply: Reply[Any]) -> list[tuple[str | None, list[Any]]] | None:
    """Return the columns of an answer whose media type is a table, or None."""
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
        (value,) = value.values()  # for example {"predictions": [...]}
    if isinstance(value, dict):
        columns: list[tuple[str | None, list[Any]]] = []
        for name, one in value.items():
            member = _list(one)
            if isinstance(member, dict):
                raise _unreadable(reply, f"its member {name!r} is an object, not one value for each row")
            if isinstance(member, list) and len(member) != rows:
                raise row_count_error(reply, rows, len(member))
            # A member that is not a list, such as the model's name, is repeated for each row.
            title = "prediction" if name == "predictions" and "prediction" not in value else str(name)
            columns.append((title, member if isinstance(member, list) else [member] * rows))
        if all(not isinstance(_list(one), list) for one in value.values()):
            raise _unreadable(reply, "no member of it is a list with one value for each row")
        return _from_columns(columns)
    answers = _list(value)
    if not isinstance(answers, list):
        raise _unreadable(reply, f"a {type(value).__name__} does not have one value for each row")
    if len(answers) != rows:
        raise row_count_error(reply, rows, len(answers))
    if answers and all(isinstance(answer, dict) for answer in answers):
        names = dict.fromkeys(name for answer in answers for name in answer)
        predictions, named = _from_columns([(name, [one.get(name) for one in answers]) for name in names])
        return (predictions if len(names) == 1 or "prediction" in names else answers), named
    widths = {len(answer) if isinstance(answer, list) else None for answer in answers}
    if len(widths) == 1 and None not in widths and widths != {0}:
        return _from_columns([(None, list(column)) for column in zip(*answers, strict=True)])
    return answers, {}


def _list(value: Any) -> Any:
    """Return an array as nested lists, and any other value unchanged."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, tuple) else value


def row_count_error(reply: Reply[Any], rows: int, answers: int, hint: str | None = None) -> RowCountError:
    """Return the error of an answer with another number of results than rows.

    Args:
        reply: The answer.
        rows: Number of rows of the request.
        answers: Number of results.
        hint: What to do. Default: None.
    """
    return RowCountError(
        f"{reply.model or reply.endpoint} answered {rows:,} rows with {answers:,}",
        rows=rows,
        answers=answers,
        body=reply.body,
        content_type=reply.content_type,
        hint=hint,
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

"""`Scorer`: scores tables in any worker of any engine. It travels as settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance, number, optional
from mme_sdk.endpoints.endpoint import Endpoint
from mme_sdk.errors import InvalidInputError, MMEError
from mme_sdk.router.router import Router
from mme_sdk.runtime.batch.batch import BatchSettings, Model
from mme_sdk.runtime.options import InvokeOptions, check_options
from mme_sdk.runtime.payloads.answer_tables import import_pandas
from mme_sdk.runtime.payloads.codecs import CSV
from mme_sdk.runtime.payloads.requests import check_target
from mme_sdk.scale.plan import ScoringPlan, make_plan
from mme_sdk.scale.tables import ERRORS, TYPES, as_kind, frame_of, typed
from mme_sdk.types.model import ModelVersion

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Scorer"]


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _check_answer(_: object, __: object, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping) or not value or not all(map(_text, value)):
        raise InvalidInputError(f"answer must be a mapping of columns to types, or None, not {value!r:.80}")
    for name, kind in value.items():
        if kind not in TYPES:
            raise InvalidInputError(f"answer[{name!r}] must be one of {', '.join(TYPES)}, not {kind!r:.40}")
        if name in ERRORS:
            raise InvalidInputError(f"answer: the column {name!r} holds the errors of the calls")


def _check_model(_: object, __: object, value: Any) -> None:
    if value is not None and not callable(value) and not _text(value):
        raise InvalidInputError(f"model must be the name of a column, a function of a row, or None, not {value!r:.80}")


def _names(value: Any) -> Any:
    return value if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)


def _check_names(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple) or not all(map(_text, value)):
        raise InvalidInputError(f"{attribute.name} must be names of columns, such as ['id'], not {value!r:.80}")


@short_tracebacks
@attrs.frozen(kw_only=True)
class Scorer:
    """Scores the rows of tables on an endpoint. A frozen settings object: engines pickle it to their workers.

    A worker process makes one client, on its first call. Call the scorer with a pandas frame, an Arrow table or record
    batch, or a dict of arrays. It returns a table of the same kind with one row for each row, in their order: the
    columns `ids` and the column of the model, the columns of the answers, and `error` and `error_type`, which are
    missing values for a row with an answer. A row that cannot be scored never ends the table.

    Attributes:
        endpoint: Handle of the endpoint, from `client.endpoint(name)`; or a router, from `client.router(name, …)`.
        model: Column with the target model or `name@alias` of each row, or a function of a row. None for a single-model
            endpoint. Default None.
        ids: Columns that are kept and not sent. Default none.
        answer: Columns of the answers that are kept, and their types: `float64`, `float32`, `int64`, `int32`, `bool` or
            `string`. An answer without such a column, or with a value of another type, raises UndecodableReplyError.
            None keeps all columns as they are. Default `{"prediction": "float64"}`.
        content_type: Media type of the requests. Default `text/csv`.
        accept: Media type of the answers. None lets the container choose. Default None.
        rows_per_call: Largest number of rows in one request. Default 256.
        deadline: Seconds for each request with all its attempts. None means the deadline of the client. Default None.
        idempotent: Whether a request with an unknown outcome may be sent again to a loaded model. Default False.
        settings: Concurrency of a worker. Default `BatchSettings(ordered=False)`.
        pinned: What the aliases stand for, by `name@alias`: a target model. `pin` fills it. Default empty: each
            request resolves its alias.

    Raises:
        InvalidInputError: A setting is invalid. The message names it.

    Example:
        ```python
        scorer = Scorer(endpoint=client.endpoint("scoring"), model="tenant", ids=["id"])
        scored = scorer(frame)
        ```
    """

    endpoint: Endpoint | Router
    model: str | Callable[[Any], Model] | None = attrs.field(default=None, validator=_check_model)
    ids: tuple[str, ...] = attrs.field(default=(), converter=_names, validator=_check_names)
    answer: Mapping[str, str] | None = attrs.field(
        factory=lambda: {"prediction": "float64"}, validator=_check_answer, hash=False
    )
    content_type: str = CSV
    accept: str | None = None
    rows_per_call: int = attrs.field(default=256, validator=number(at_least=1, integer=True))
    deadline: float | None = attrs.field(default=None, validator=optional(number(over=0)))
    idempotent: bool = False
    settings: BatchSettings = attrs.field(factory=lambda: BatchSettings(ordered=False))
    pinned: Mapping[str, str] = attrs.field(factory=dict, hash=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.endpoint, Router):
            check_instance("endpoint", self.endpoint, Endpoint)
        check_instance("settings", self.settings, BatchSettings)
        check_instance("pinned", self.pinned, Mapping)
        check_options(self._options())
        clash = {*self.ids, *([self.model] if isinstance(self.model, str) else [])} & {*(self.answer or ()), *ERRORS}
        if clash:
            raise InvalidInputError(
                f"the columns {', '.join(map(repr, sorted(clash)))} of the table are those of the result too",
                hint="rename them in the table",
            )

    @property
    def __name__(self) -> str:  # some engines show the name of what they call
        return "Scorer"

    def __call__(self, table: Any) -> Any:
        """Score the rows of a table.

        Args:
            table: A pandas frame, an Arrow table or record batch, or a dict of arrays.

        Returns:
            A table of the same kind.

        Raises:
            InvalidInputError: The table is of another kind, or does not have a column.
            UndecodableReplyError: The answers do not have the columns and types of `answer`.
            MissingExtraError: pandas is not installed, or pyarrow, which Arrow tables and Parquet need.
        """
        return self._score(table, None, _by_model)

    def _score(
        self,
        table: Any,
        ledger: str | os.PathLike[str] | None,
        requests_of: Callable[[pd.DataFrame, list[Any], list[Any]], dict[Any, list[int]]],
    ) -> Any:
        """Score a table.

        Args:
            table: The table.
            ledger: Where the answers are kept. None keeps none.
            requests_of: Returns the places of the rows that may be sent together, in the order in which they are sent,
                from the rows, their models and what is called for each.
        """
        from mme_sdk.runtime.batch.frames import FrameJoin, FramePart

        frame = frame_of(table)
        self.endpoint._invoker._codecs.check_parquet(self.content_type, self.accept)
        plain = frame.reset_index(drop=True)
        written = self.models_of(plain)
        models = self._checked(written)
        features = plain.drop(columns=self._kept(plain))
        size = self.rows_per_call
        parts = [
            FramePart(models[rows[0]], rows[start : start + size], features.iloc[rows[start : start + size]])
            for rows in requests_of(plain, written, models).values()
            for start in range(0, len(rows), size)
        ]
        join = FrameJoin(plain, len(parts))
        results = self.endpoint._invoker._invoke_parts(
            self.endpoint.name, parts, self._options(), settings=self.settings, checkpoint=ledger
        )
        scored = join.finish(results)
        errors = [
            model if isinstance(model, Exception) else error
            for model, error in zip(models, scored["error"].tolist(), strict=True)
        ]
        return as_kind(self._joined(frame, scored.drop(columns="error"), errors), table, self.answer)

    def partition(self, tables: Iterable[Any]) -> Iterator[Any]:
        """Score the tables of one partition, as Spark's `mapInPandas` and `mapInArrow` pass them.

        Args:
            tables: The tables.

        Yields:
            The scored tables.
        """
        for table in tables:
            yield self(table)

    def plan(self, counts: Mapping[str, int], buckets: int) -> ScoringPlan:
        """Distribute the rows over buckets, one for each worker, so that few workers load the same model.

        Models with the most rows come first. A model with more rows than an even bucket is split.

        Args:
            counts: Number of rows of each model.
            buckets: Number of buckets.

        Returns:
            The plan.

        Raises:
            InvalidInputError: A count is not a whole number of at least 0, or `buckets` is not one of at least 1.

        Example:
            ```python
            plan = scorer.plan(frame["tenant"].value_counts().to_dict(), buckets=4)
            frame["bucket"] = plan.assign(frame["tenant"])
            ```
        """
        return make_plan(counts, buckets)

    def pin(self, models: Iterable[Any]) -> Scorer:
        """Return a scorer that calls the versions that the aliases stand for now, as long as a job takes.

        Args:
            models: The models of the rows. Each `name@alias` among them is resolved once; of a weighted alias, one
                version is drawn. Other models are left as they are, and so is an alias that does not exist: its rows
                fail.

        Returns:
            The scorer.

        Raises:
            AccessDeniedError: The models may not be read from S3.
        """
        from mme_sdk.errors import InvalidInputError, ModelNotFoundError
        from mme_sdk.runtime.diagnostics import model_prefix

        aliases = {one for one in models if isinstance(one, str) and "@" in one} - {*self.pinned}
        if not aliases:
            return self
        if isinstance(self.endpoint, Router):
            client, name = self.endpoint._client_of_models()
        else:
            client, name = self.endpoint._context.client, self.endpoint.name
        if client is None:
            return self
        prefix = self.endpoint.prefix or client._aws.run(model_prefix(name))
        if prefix is None:
            return self
        registry, found = client.models(prefix), dict(self.pinned)
        for alias in sorted(aliases):
            try:
                found[alias] = registry.resolve(alias).target_model
            except (ModelNotFoundError, InvalidInputError):
                continue
        return attrs.evolve(self, pinned=found)

    def models_of(self, frame: pd.DataFrame) -> list[Any]:
        """Return the model of each row of a frame.

        Args:
            frame: A pandas frame.

        Returns:
            The models, as the column or the function gives them.

        Raises:
            InvalidInputError: The frame does not have the column exactly once.
        """
        if self.model is None:
            return [None] * len(frame)
        if callable(self.model):
            return [self.model(row) for _, row in frame.astype(object).iterrows()]
        _check_column(frame, self.model)
        return list(frame[self.model].astype(object))

    def empty(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a result without rows: its columns and types are those of every result. Dask calls it the meta.

        Args:
            frame: A frame with the columns of the tables, such as an empty one.

        Returns:
            The frame.

        Raises:
            InvalidInputError: `answer` is None, or the frame does not have a column.
        """
        if self.answer is None:
            raise InvalidInputError("answer=None: the columns of the result are not known", hint="name them in answer=")
        none = import_pandas().DataFrame(index=range(0))
        return self._joined(frame.iloc[:0], none, [])

    def _joined(self, frame: pd.DataFrame, scored: pd.DataFrame, errors: list[Any]) -> pd.DataFrame:
        pandas = import_pandas()
        kept: Any = frame[self._kept(frame)].copy()
        added: Any = scored
        if self.answer is not None:
            added = typed(scored, self.answer, [error is not None for error in errors])
        texts = [None if error is None else str(getattr(error, "message", error)) for error in errors]
        names = [None if error is None else type(error).__name__ for error in errors]
        for name in added.columns:
            kept[name] = added[name].set_axis(kept.index)
        for name, values in zip(ERRORS, (texts, names), strict=True):
            kept[name] = pandas.Series(values, index=kept.index, dtype=object)
        joined: pd.DataFrame = kept
        return joined

    def _kept(self, frame: pd.DataFrame) -> list[str]:
        names = [*self.ids, *([self.model] if isinstance(self.model, str) and self.model not in self.ids else [])]
        for name in names:
            _check_column(frame, name)
        return names

    def _checked(self, models: list[Any]) -> list[Any]:
        """Return what is called for each row: a model, or the error of a row without one."""
        checked: dict[Any, Any] = {}
        called: list[Any] = []
        for model in models:
            key = model if isinstance(model, (str, ModelVersion)) else type(model)
            if key not in checked:
                checked[key] = self._check(model)
            called.append(checked[key])
        return called

    def _check(self, model: Any) -> Any:
        if isinstance(model, ModelVersion) or (model is None and (self.model is None or callable(self.model))):
            return model
        if not isinstance(model, str):
            return InvalidInputError(f"the row has no target model, but {model!r:.60}")
        try:
            found = self.pinned.get(model, model)
            check_target(found)
        except MMEError as error:
            return error
        return found

    def _options(self) -> InvokeOptions:
        return InvokeOptions(
            content_type=self.content_type,
            accept=self.accept,
            deadline=self.deadline,
            idempotent=self.idempotent,
            prefix=self.endpoint.prefix if isinstance(self.endpoint, Endpoint) else None,
        )


def _by_model(_: object, __: object, called: list[Any]) -> dict[Any, list[int]]:
    groups: dict[Any, list[int]] = {}
    for place, model in enumerate(called):
        if not isinstance(model, Exception):
            groups.setdefault(model, []).append(place)
    return groups


def _check_column(frame: pd.DataFrame, name: str) -> None:
    count = sum(one == name for one in frame.columns)
    if count != 1:
        raise InvalidInputError(
            f"the table has {'no column' if not count else f'{count} columns named'} {name!r}",
            hint=f"its columns are {', '.join(map(str, frame.columns[:20]))}",
        )

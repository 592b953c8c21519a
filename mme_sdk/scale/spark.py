"""`score` of a Spark data frame: each model goes to one partition, unless it has most of the rows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance
from mme_sdk.errors import InvalidInputError, MissingExtraError
from mme_sdk.scale.ledger import BUCKET, RANGE, Ranges, check_ledger, ranges_of, score_ranges, whole_ranges
from mme_sdk.scale.scorer import Scorer
from mme_sdk.scale.tables import ERRORS

if TYPE_CHECKING:
    import pandas as pd

    from mme_sdk.scale.plan import ScoringPlan

__all__ = ["score"]

_TYPES = {
    "float64": "DoubleType",
    "float32": "FloatType",
    "int64": "LongType",
    "int32": "IntegerType",
    "bool": "BooleanType",
    "string": "StringType",
}


@short_tracebacks
def score(frame: Any, scorer: Scorer, *, buckets: int, ledger: str | os.PathLike[str] | None = None) -> Any:
    """Return a Spark data frame with the scored rows. The rows are counted by model now, and scored by an action.

    The aliases are resolved now. The rows are moved to one partition for each bucket, so their order is not kept: name
    the columns that identify them in `ids`. Spark may score a partition again if its task fails; each row is once in
    the result.

    Args:
        frame: A `pyspark.sql.DataFrame`.
        scorer: How rows are scored. It needs `answer`.
        buckets: Number of partitions of the result: the tasks that score at the same time.
        ledger: Where the answers are kept, so that a job that is run again calls only what is missing: an S3 address
            such as `s3://bucket/jobs/42/`, or a directory that all workers reach. Failed rows are not kept. None keeps
            none. Default None.

    Returns:
        The `pyspark.sql.DataFrame`.

    Raises:
        MissingExtraError: PySpark is not installed.
        InvalidInputError: The frame or an argument is invalid.

    Example:
        ```python
        scored = mme_sdk.scale.spark.score(spark.read.parquet("rows/"), scorer, buckets=8)
        scored.write.parquet("scored/")
        ```
    """
    try:
        from pyspark.sql import DataFrame, types  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("scale.spark needs PySpark", hint="pip install 'mme-sdk[spark]'") from error
    check_instance("scorer", scorer, Scorer)
    check_ledger(ledger)
    if not isinstance(frame, DataFrame):
        raise InvalidInputError(f"scale.spark.score takes a pyspark.sql.DataFrame, not a {type(frame).__name__}")
    if not hasattr(frame, "repartitionById"):
        raise MissingExtraError("scale.spark needs PySpark 4.1 or newer", hint="pip install 'mme-sdk[spark]'")
    for name in frame.columns:
        if "." in name or "`" in name:
            raise InvalidInputError(
                f"mapInPandas of Spark takes no column with a dot or a backtick in its name, such as {name!r}",
                hint=f"rename it: frame.withColumnsRenamed({{{name!r}: {name.replace('.', '_').replace('`', '_')!r}}})",
            )
    if scorer.answer is None:
        raise InvalidInputError("answer=None: the columns of the result are not known", hint="name them in answer=")
    missing = {*scorer.ids, *([scorer.model] if isinstance(scorer.model, str) else [])} - {*frame.columns}
    if missing:
        raise InvalidInputError(
            f"the table has no column {min(missing)!r}", hint=f"its columns are {', '.join(frame.columns[:20])}"
        )
    kept = [*scorer.ids, *([scorer.model] if isinstance(scorer.model, str) and scorer.model not in scorer.ids else [])]
    schema = types.StructType([frame.schema[name] for name in kept])
    for name, kind in {**scorer.answer, **dict.fromkeys(ERRORS, "string")}.items():
        schema.add(name, getattr(types, _TYPES[kind])())
    if scorer.model is None and ledger is None:
        return frame.mapInPandas(scorer.partition, schema)
    counts = Counter[str]()
    read = frame.select(scorer.model) if isinstance(scorer.model, str) else frame  # Parquet then reads one column
    for row in read.mapInPandas(_Counts(scorer), "model string, rows bigint").collect():
        counts[row["model"]] += row["rows"]
    pinned = scorer.pin(counts)
    plan = pinned.plan(counts, buckets)
    marked = types.StructType([*frame.schema.fields]).add(BUCKET, types.IntegerType())
    if ledger is not None:
        ranges = ranges_of(counts, plan, pinned.rows_per_call)
        marked = marked.add(RANGE, types.LongType())
        placed = frame.mapInPandas(_MarkRanges(pinned, ranges), marked).repartitionById(buckets, BUCKET)
        ordered = placed.sortWithinPartitions(RANGE).drop(BUCKET)
        return ordered.mapInPandas(_ScoreRanges(pinned, ledger, ranges.counts), schema)
    placed = frame.mapInPandas(_Mark(pinned, plan), marked).repartitionById(buckets, BUCKET)
    if isinstance(scorer.model, str):
        placed = placed.sortWithinPartitions(scorer.model)  # a task scores few models at a time
    return placed.drop(BUCKET).mapInPandas(pinned.partition, schema)


class _Counts:
    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __call__(self, tables: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import pandas as pd

        for table in tables:
            counts = Counter(map(str, self._scorer.models_of(table)))
            yield pd.DataFrame({"model": [*counts], "rows": [*counts.values()]})


class _Mark:
    def __init__(self, scorer: Scorer, plan: ScoringPlan) -> None:
        self._scorer, self._plan = scorer, plan

    def __call__(self, tables: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for table in tables:
            yield table.assign(**{BUCKET: self._plan.assign(map(str, self._scorer.models_of(table)))})


class _MarkRanges:
    def __init__(self, scorer: Scorer, ranges: Ranges) -> None:
        self._scorer, self._ranges = scorer, ranges

    def __call__(self, tables: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for table in tables:
            yield self._ranges.mark(table, self._scorer.models_of(table))


class _ScoreRanges:
    def __init__(self, scorer: Scorer, ledger: str | os.PathLike[str], ranges: dict[str, int]) -> None:
        self._scorer, self._ledger, self._ranges = scorer, ledger, ranges

    def __call__(self, tables: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import pandas as pd

        for table in whole_ranges(tables):
            plain = table.drop(columns=RANGE).reset_index(drop=True)
            # Text of several tables is in several Arrow arrays, which Spark cannot convert.
            texts = [name for name, kind in plain.dtypes.items() if isinstance(kind, pd.StringDtype)]
            yield score_ranges(plain.astype(dict.fromkeys(texts, object)), self._scorer, self._ledger, self._ranges)

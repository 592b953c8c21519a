"""`score` of a Dask collection: each model goes to one partition, unless it has most of the rows."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance
from mme_sdk.errors import InvalidInputError, MissingExtraError
from mme_sdk.scale.ledger import BUCKET, RANGE, Ranges, check_ledger, ranges_of, score_ranges
from mme_sdk.scale.scorer import Scorer

if TYPE_CHECKING:
    import pandas as pd

    from mme_sdk.scale.plan import ScoringPlan

__all__ = ["score"]


@short_tracebacks
def score(
    frame: Any, scorer: Scorer, *, buckets: int | None = None, ledger: str | os.PathLike[str] | None = None
) -> Any:
    """Return a Dask data frame with the scored rows. The rows are counted by model now, and scored when it is computed.

    The aliases are resolved now. The rows are moved to one partition for each bucket, so their order is not kept:
    name the columns that identify them in `ids`. Dask may score a partition again if its worker ends; each row is once
    in the result.

    Args:
        frame: A `dask.dataframe.DataFrame`.
        scorer: How rows are scored. It needs `answer`.
        buckets: Number of partitions of the result. None means those of `frame`. Default None.
        ledger: Where the answers are kept, so that a job that is run again calls only what is missing: an S3 address
            such as `s3://bucket/jobs/42/`, or a directory that all workers reach. Failed rows are not kept. None keeps
            none. Default None.

    Returns:
        The `dask.dataframe.DataFrame`.

    Raises:
        MissingExtraError: Dask is not installed.
        InvalidInputError: The frame or an argument is invalid.

    Example:
        ```python
        scored = mme_sdk.scale.dask.score(dask.dataframe.read_parquet("rows/"), scorer, buckets=8)
        scored.to_parquet("scored/")
        ```
    """
    try:
        import dask.dataframe as dd  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("scale.dask needs Dask", hint="pip install 'mme-sdk[dask]'") from error
    check_instance("scorer", scorer, Scorer)
    check_ledger(ledger)
    if not isinstance(frame, dd.DataFrame):
        raise InvalidInputError(
            f"scale.dask.score takes a dask.dataframe.DataFrame, not a {type(frame).__name__}",
            hint="convert it with dask.dataframe.from_pandas(frame, npartitions=8)",
        )
    meta = scorer.empty(frame._meta)
    if scorer.model is None and ledger is None:
        return frame.map_partitions(scorer, meta=meta)
    counts = Counter[str]()
    read = frame[[scorer.model]] if isinstance(scorer.model, str) else frame  # Parquet then reads one column
    for part in read.map_partitions(_counts, scorer, meta=("counts", "object")).compute():
        counts.update(part)
    pinned, number = scorer.pin(counts), buckets or frame.npartitions
    plan = pinned.plan(counts, number)
    if ledger is None:
        ranges, marks = None, {BUCKET: 0}
    else:
        ranges, marks = ranges_of(counts, plan, pinned.rows_per_call), {BUCKET: 0, RANGE: 0}
    marked = frame.map_partitions(_marked, pinned, plan, ranges, meta=frame._meta.assign(**marks))
    # The divisions 0, 1, 2, … put each bucket into a partition of its own; `shuffle` would hash the numbers.
    placed = marked.set_index(BUCKET, divisions=[*range(number), number], sort=True)
    return placed.map_partitions(_scored, pinned, ledger, None if ranges is None else ranges.counts, meta=meta)


def _counts(part: pd.DataFrame, scorer: Scorer) -> pd.Series:
    import pandas as pd

    return pd.Series([Counter(map(str, scorer.models_of(part)))], dtype=object)


def _marked(part: pd.DataFrame, scorer: Scorer, plan: ScoringPlan, ranges: Ranges | None) -> pd.DataFrame:
    if ranges is not None:
        return ranges.mark(part, scorer.models_of(part))
    return part.assign(**{BUCKET: plan.assign(map(str, scorer.models_of(part)))})


def _scored(
    part: pd.DataFrame, scorer: Scorer, ledger: str | os.PathLike[str] | None, ranges: dict[str, int] | None
) -> pd.DataFrame:
    plain = part.reset_index(drop=True).drop(columns=RANGE, errors="ignore")
    scored: pd.DataFrame = scorer(plain) if ledger is None else score_ranges(plain, scorer, ledger, ranges)
    return scored

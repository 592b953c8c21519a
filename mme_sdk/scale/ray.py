"""`score` of a Ray dataset: each model goes to one block, unless it has most of the rows."""

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
def score(dataset: Any, scorer: Scorer, *, buckets: int, ledger: str | os.PathLike[str] | None = None) -> Any:
    """Return a Ray dataset with the scored rows. The rows are counted by model now, and scored when it is consumed.

    The aliases are resolved now. The rows are sorted into one block for each bucket, so their order is not kept: name
    the columns that identify them in `ids`. Ray may score a block again if its worker ends; each row is once in the
    result.

    Args:
        dataset: A `ray.data.Dataset`.
        scorer: How rows are scored.
        buckets: Number of blocks of the result: the tasks that score at the same time.
        ledger: Where the answers are kept, so that a job that is run again calls only what is missing: an S3 address
            such as `s3://bucket/jobs/42/`, or a directory that all workers reach. Failed rows are not kept. None keeps
            none. Default None.

    Returns:
        The `ray.data.Dataset`.

    Raises:
        MissingExtraError: Ray is not installed.
        InvalidInputError: The dataset or an argument is invalid.

    Example:
        ```python
        scored = mme_sdk.scale.ray.score(ray.data.read_parquet("rows/"), scorer, buckets=8)
        scored.write_parquet("scored/")
        ```
    """
    try:
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("scale.ray needs Ray", hint="pip install 'mme-sdk[ray]'") from error
    check_instance("scorer", scorer, Scorer)
    check_ledger(ledger)
    if not isinstance(dataset, ray.data.Dataset):
        raise InvalidInputError(
            f"scale.ray.score takes a ray.data.Dataset, not a {type(dataset).__name__}",
            hint="convert it with ray.data.from_pandas(frame)",
        )
    if scorer.model is None and ledger is None:
        return dataset.map_batches(_scored, fn_kwargs={"scorer": scorer}, batch_format="pandas", batch_size=None)
    counts = Counter[str]()
    known, read = dataset.schema(fetch_if_missing=False), dataset
    if known is not None and isinstance(scorer.model, str) and known.names.count(scorer.model) == 1:
        read = dataset.select_columns([scorer.model])  # Parquet then reads one column
    counted = read.map_batches(_counts, fn_kwargs={"scorer": scorer}, batch_format="pandas", batch_size=None)
    for row in counted.iter_rows():
        counts[row["model"]] += int(row["rows"])
    pinned = scorer.pin(counts)
    plan = pinned.plan(counts, buckets)
    ranges = None if ledger is None else ranges_of(counts, plan, pinned.rows_per_call)
    marks = {"scorer": pinned, "plan": plan, "ranges": ranges}
    marked = dataset.map_batches(_marked, fn_kwargs=marks, batch_format="pandas", batch_size=None)
    placed = marked.sort(BUCKET, boundaries=[*range(1, buckets)]) if buckets > 1 else marked.repartition(1)
    given = {"scorer": pinned, "ledger": ledger, "ranges": None if ranges is None else ranges.counts}
    return placed.map_batches(_scored, fn_kwargs=given, batch_format="pandas", batch_size=None)


def _counts(batch: pd.DataFrame, scorer: Scorer) -> pd.DataFrame:
    import pandas as pd

    counts = Counter(map(str, scorer.models_of(batch)))
    return pd.DataFrame({"model": [*counts], "rows": [*counts.values()]})


def _marked(batch: pd.DataFrame, scorer: Scorer, plan: ScoringPlan, ranges: Ranges | None) -> pd.DataFrame:
    if ranges is not None:
        return ranges.mark(batch, scorer.models_of(batch))
    return batch.assign(**{BUCKET: plan.assign(map(str, scorer.models_of(batch)))})


def _scored(
    batch: pd.DataFrame,
    scorer: Scorer,
    ledger: str | os.PathLike[str] | None = None,
    ranges: dict[str, int] | None = None,
) -> pd.DataFrame:
    plain = batch.drop(columns=[BUCKET, RANGE], errors="ignore").reset_index(drop=True)
    scored: pd.DataFrame = scorer(plain) if ledger is None else score_ranges(plain, scorer, ledger, ranges)
    return scored

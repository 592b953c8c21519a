"""`score`: one table on the workers of a `concurrent.futures` executor."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from functools import partial
from typing import Any

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance
from mme_sdk.errors import InvalidInputError, OutcomeUnknownError
from mme_sdk.runtime.payloads.answer_tables import import_pandas
from mme_sdk.scale.ledger import BUCKET, check_ledger, ranges_of, score_ranges
from mme_sdk.scale.scorer import Scorer
from mme_sdk.scale.tables import as_kind, frame_of

__all__ = ["score"]


@short_tracebacks
def score(
    table: Any,
    scorer: Scorer,
    *,
    workers: Executor,
    buckets: int | None = None,
    ledger: str | os.PathLike[str] | None = None,
) -> Any:
    """Score a table on the workers of an executor. Each model goes to one worker, unless it has most of the rows.

    Aliases are resolved once, before the first request. Each row is once in the result. If a worker process ends, the
    rows that it had get an OutcomeUnknownError: they may have been scored. With a ledger, run the job again: it has the
    answers of all requests but those that were running.

    Args:
        table: A pandas frame, an Arrow table or record batch, or a dict of arrays.
        scorer: How rows are scored.
        workers: The executor, such as a ProcessPoolExecutor. It stays open.
        buckets: Number of parts that the table is divided into. None means one for each worker. Default None.
        ledger: Where the answers are kept, so that a job that is run again calls only what is missing: an S3 address
            such as `s3://bucket/jobs/42/`, or a directory that all workers reach. Failed rows are not kept. None keeps
            none. Default None.

    Returns:
        A table of the same kind, as `scorer(table)` returns it.

    Raises:
        InvalidInputError: The table or an argument is invalid, or the scorer cannot be sent to the workers.
        IntegrityError: An object of the ledger is damaged. The message names it.
        UndecodableReplyError: The answers do not have the columns and types of `scorer.answer`.

    Example:
        ```python
        with ProcessPoolExecutor(4) as workers:
            scored = score(frame, scorer, workers=workers)
        ```
    """
    check_instance("scorer", scorer, Scorer)
    check_instance("workers", workers, Executor)
    check_ledger(ledger)
    pd = import_pandas()
    frame = frame_of(table)
    models = [str(model) for model in scorer.models_of(frame)]
    counts = Counter(models)
    number: int = getattr(workers, "_max_workers", None) or 1 if buckets is None else buckets
    pinned = scorer.pin(counts)
    plan = pinned.plan(counts, number)
    places: list[list[int]] = [[] for _ in range(number)]
    plain = frame.reset_index(drop=True)
    work: Callable[[Any], Any] = pinned
    if ledger is None:
        assigned = plan.assign(models)
    else:
        ranges = ranges_of(counts, plan, pinned.rows_per_call)
        assigned = ranges.mark(plain, models)[BUCKET].tolist()
        work = partial(score_ranges, scorer=pinned, ledger=ledger, ranges=ranges.counts)
    for place, bucket in enumerate(assigned):
        places[bucket].append(place)
    filled = [rows for rows in places if rows]
    running = [(rows, _submit(workers, work, plain.iloc[rows])) for rows in filled]
    parts = []
    try:
        for rows, future in running:
            try:
                parts.append(future.result())
            except BrokenExecutor:
                parts.append(_lost(pinned, plain.iloc[rows]))
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                if not isinstance(error, pickle.PicklingError) and _can_be_sent(pinned, workers):
                    raise  # it comes from the work itself
                raise InvalidInputError(
                    f"the scorer cannot be sent to the workers: {error}",
                    hint="model= must be a column, or a function of a module",
                ) from error
    except BaseException:
        for _, future in running:
            future.cancel()
        raise
    whole = pd.concat(parts).sort_index() if parts else pinned(plain)
    whole.index = frame.index
    return as_kind(whole, table, pinned.answer)


def _submit(workers: Executor, work: Callable[[Any], Any], part: Any) -> Any:
    from concurrent.futures import Future

    try:
        return workers.submit(work, part)
    except BrokenExecutor as error:
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed


def _can_be_sent(scorer: Scorer, workers: Executor) -> bool:
    if isinstance(workers, ThreadPoolExecutor):
        return True
    try:
        pickle.dumps(scorer)
    except Exception:  # noqa: BLE001 - a class of the caller may raise anything
        return False
    return True


def _lost(scorer: Scorer, part: Any) -> Any:
    error = OutcomeUnknownError("the worker process ended before it returned the rows")
    none = import_pandas().DataFrame(index=part.index)
    return scorer._joined(part, none, [error] * len(part))

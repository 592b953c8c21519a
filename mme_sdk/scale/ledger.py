"""`score_part`: a part of a job with a ledger; and which rows are sent together, whatever engine scores them.

A request of a ledger is found again only if it has the same rows. So the rows of a model are ordered by a hash of their
values, and a model with many rows is divided into ranges of these hashes. A range goes to one worker as a whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance
from mme_sdk.runtime.ledger.objects import objects_at
from mme_sdk.runtime.payloads.answer_tables import import_pandas
from mme_sdk.scale.plan import ScoringPlan
from mme_sdk.scale.scorer import Scorer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BUCKET", "RANGE", "Ranges", "check_ledger", "ranges_of", "score_part", "score_ranges", "whole_ranges"]

BUCKET, RANGE = "_mme_bucket", "_mme_range"  # columns that an engine moves and sorts the rows by
_REQUESTS = 16  # in a range: the last one is smaller than the others


@attrs.frozen
class Ranges:
    """The ranges of the models of a job, and the bucket of each.

    Attributes:
        buckets: For each model the bucket of each of its ranges.
        ids: For each model the number of each of its ranges, which no other model has.
    """

    buckets: Mapping[str, tuple[int, ...]]
    ids: Mapping[str, tuple[int, ...]]

    @property
    def counts(self) -> dict[str, int]:
        """The number of ranges of each model that has several."""
        return {model: len(buckets) for model, buckets in self.buckets.items() if len(buckets) > 1}

    def mark(self, frame: pd.DataFrame, models: Iterable[Any]) -> pd.DataFrame:
        """Return rows with the columns `BUCKET` and `RANGE`.

        Args:
            frame: The rows.
            models: The model of each row.
        """
        names = [str(model) for model in models]
        places = _places(_hashes(frame), names, self.counts)
        return frame.assign(
            **{
                BUCKET: [self.buckets[name][place] for name, place in zip(names, places, strict=True)],
                RANGE: [self.ids[name][place] for name, place in zip(names, places, strict=True)],
            }
        )


def ranges_of(counts: Mapping[str, int], plan: ScoringPlan, rows_per_call: int) -> Ranges:
    """Return the ranges of a job. They depend on the rows only; their buckets on the plan.

    Args:
        counts: Number of rows of each model.
        plan: The plan of the job.
        rows_per_call: Largest number of rows in one request.
    """
    buckets: dict[str, tuple[int, ...]] = {}
    ids: dict[str, tuple[int, ...]] = {}
    for model, rows in counts.items():
        number = max(1, -(-rows // (_REQUESTS * rows_per_call)))
        shares = plan.shares[model]
        total, found, ends, at = sum(share for _, share in shares), list[int](), 0, 0
        for place in range(number):
            while at < len(shares) - 1 and (place + 0.5) * total >= (ends + shares[at][1]) * number:
                ends += shares[at][1]
                at += 1
            found.append(shares[at][0])
        buckets[model] = tuple(found)
        ids[model] = tuple(_number_of(f"{place} {model}") for place in range(number))
    return Ranges(buckets, ids)


def requests_of(
    frame: pd.DataFrame, models: list[Any], called: list[Any], ranges: Mapping[str, int]
) -> dict[Any, list[int]]:
    """Return the places of the rows of each range that can be called, in the order of their hashes.

    Args:
        frame: The rows.
        models: The model of each row.
        called: What is called for each row; an exception if nothing is.
        ranges: Number of ranges of each model that has several.
    """
    names, hashes = [str(model) for model in models], _hashes(frame)
    places = _places(hashes, names, ranges)
    groups: dict[Any, list[int]] = {}
    for row in sorted(range(len(names)), key=lambda row: (names[row], hashes[row])):
        if not isinstance(called[row], Exception):
            groups.setdefault((called[row], names[row], places[row]), []).append(row)
    return groups


def whole_ranges(tables: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Yield tables that end where a range ends, from tables that are sorted by `RANGE`.

    Args:
        tables: The tables.
    """
    concat = import_pandas().concat
    held: list[Any] = []
    table: Any
    for table in tables:
        if not len(table):
            continue
        last = table[RANGE].iloc[-1]
        ends = table[RANGE] == last
        if held and (held[-1][RANGE].iloc[-1] != last):
            yield concat([*held, table[~ends]])
            held = [table[ends]]
        elif held or ends.all():
            held.append(table)
        else:
            yield table[~ends]
            held = [table[ends]]
    if held:
        yield concat(held)


@short_tracebacks
def score_part(table: Any, scorer: Scorer, *, ledger: str | os.PathLike[str]) -> Any:
    """Score a part of a job, once: if it is called again, requests whose answers the ledger has are not sent.

    It is the function for a task of Airflow or Prefect, which may run several times. A request is found by what it
    sends, the model and the endpoint. Rows are sent in an order that does not depend on their order in the table. Rows
    that failed are sent again. If two tasks send the same request at the same time, both return the answer that was
    written first. Pin the scorer before the job (`scorer.pin`), or a task that is repeated after a deployment calls the
    new version.

    Args:
        table: The rows of the part: a pandas frame, an Arrow table or record batch, or a dict of arrays.
        scorer: How rows are scored.
        ledger: Where the answers are kept: an S3 address such as `s3://bucket/jobs/42/`, or a directory that all
            workers reach. An address for each job makes it easy to delete.

    Returns:
        A table of the same kind, as `scorer(table)` returns it.

    Raises:
        InvalidInputError: The table or an argument is invalid.
        IntegrityError: An object of the ledger is damaged. The message names it.
        AccessDeniedError: The ledger may not be read or written.
        UndecodableReplyError: The answers do not have the columns and types of `scorer.answer`.

    Example:
        ```python
        scored = score_part(pd.read_parquet("rows/part-7.parquet"), scorer, ledger="s3://ml-jobs/42/")
        ```
    """
    check_instance("scorer", scorer, Scorer)
    check_ledger(ledger)
    return score_ranges(table, scorer, ledger, {})


def score_ranges(
    table: Any, scorer: Scorer, ledger: str | os.PathLike[str] | None, ranges: Mapping[str, int] | None
) -> Any:
    """Score a table with whole ranges of the models, in a worker of an engine.

    Args:
        table: The rows.
        scorer: How rows are scored.
        ledger: Where the answers are kept. None keeps none.
        ranges: Number of ranges of each model that has several.
    """
    counts = ranges or {}
    return scorer._score(table, ledger, lambda frame, models, called: requests_of(frame, models, called, counts))


def check_ledger(ledger: str | os.PathLike[str] | None) -> None:
    """Raise InvalidInputError if an address is neither None nor one of a ledger.

    Args:
        ledger: The address.
    """
    if ledger is not None:
        objects_at(ledger)


def _hashes(frame: pd.DataFrame) -> list[int]:
    """Return a number from 0 to 2**64 - 1 for each row, the same in each process and for each engine."""
    pd = import_pandas()
    columns = [frame.iloc[:, place] for place in range(frame.shape[1])]
    plain = [column.map(_text) if column.dtype == object else column for column in columns]
    whole = pd.concat(plain, axis=1) if plain else frame
    found: list[int] = pd.util.hash_pandas_object(whole, index=False).tolist()
    return found


def _text(value: Any) -> str | None:
    """Return a value of a column of objects as text, so that 1 and True, which are equal, differ."""
    if value is None or (isinstance(value, str) and (value.isascii() or _is_unicode(value))):
        return value
    if not isinstance(value, str) and hasattr(value, "tolist"):
        value = value.tolist()  # engines make arrays of lists
    missing = value is import_pandas().NA or (isinstance(value, float) and value != value)
    return None if missing else f"{type(value).__name__} {value!r}"


def _is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogates, which pandas cannot hash."""
    return not any("\ud800" <= one <= "\udfff" for one in text)


def _places(hashes: list[int], names: list[str], counts: Mapping[str, int]) -> list[int]:
    if not counts:
        return [0] * len(names)
    return [one * counts.get(name, 1) >> 64 for one, name in zip(hashes, names, strict=True)]


def _number_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big") >> 1

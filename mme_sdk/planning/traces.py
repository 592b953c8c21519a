"""Read the columns of a trace, and measure how bursty it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.simulation.inputs import Floats, Ints
from mme_sdk.planning.tables import frame_of

__all__ = ["gap_cv", "read_trace"]


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)  # repr of a numpy number includes its type


def numbers(column: Any, name: str) -> Floats:
    """Return a column as numbers; raise InvalidInputError if one is missing or not finite."""
    import pandas as pd

    parsed: Any = pd.to_numeric(column, errors="coerce")
    values = parsed.to_numpy(dtype=float, na_value=np.nan)
    bad = ~np.isfinite(values)
    if bad.any():
        at = int(bad.argmax())
        raise InvalidInputError(
            f"the trace has {_shown(column.iloc[at])} for {name!r} in row {at}; it must be a finite number"
        )
    return np.asarray(values)


def seconds(column: Any, name: str) -> Floats:
    """Return a column of numbers or timestamps as seconds; timestamps count from the first one."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return numbers(column, name)
    moments = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
    if moments.isna().any():
        at = int(moments.isna().to_numpy().argmax())
        raise InvalidInputError(
            f"the trace has {_shown(column.iloc[at])} for {name!r} in row {at}; it must be seconds or a timestamp",
            hint="write timestamps in ISO 8601 format",
        )
    start = moments.iloc[0]
    return np.asarray((moments - start).dt.total_seconds().to_numpy(dtype=float))


def gap_cv(times: Floats, index: Ints, models: int) -> float:
    """Return the coefficient of variation of the gaps between a model's requests, relative to its mean gap.

    Waves that all models have in common, such as a day's, are not bursts: the gaps are measured on a clock that runs
    with the rate of all requests. It changes its pace a hundred times in the trace, or once in 200 requests.
    """
    steps = max(1, min(100, len(times) // 200))
    edges = np.linspace(0.0, float(times[-1]), steps + 1) if len(times) else np.zeros(2)
    clock = np.interp(times, edges, np.searchsorted(times, edges, side="right"))
    order = np.lexsort((times, index))
    gaps, same = np.diff(clock[order]), np.diff(index[order]) == 0
    owner = index[order][1:][same]
    gaps = gaps[same]
    counts = np.bincount(owner, minlength=models)
    means = np.bincount(owner, weights=gaps, minlength=models) / np.maximum(counts, 1)
    enough = (counts[owner] >= 5) & (means[owner] > 0)
    if enough.sum() < 20:
        return 1.0
    relative = gaps[enough] / means[owner][enough]
    return float(np.sqrt(np.mean((relative - 1.0) ** 2)))


def read_trace(trace: Any, *, time: str, model: str, service: str | None) -> dict[str, Any]:
    """Return the fields of the workload of a trace; see `Workload.from_trace`."""
    frame = frame_of(trace)
    for column in (time, model):
        if column not in frame.columns:
            found = ", ".join(map(str, frame.columns)) or "none"
            raise InvalidInputError(f"the trace has no column {column!r}; it has {found}")
    if not len(frame):
        raise InvalidInputError("the trace is empty")
    times = seconds(frame[time], time)
    names = frame[model]
    unnamed = (names.isna() | (names.astype(str) == "")).to_numpy()
    if unnamed.any():
        raise InvalidInputError(f"the trace has no model in row {int(unnamed.argmax())}")
    served = None
    work = service or ("service" if "service" in frame.columns else None)
    if work is not None:
        if work not in frame.columns:
            raise InvalidInputError(f"the trace has no column {work!r}")
        served = numbers(frame[work], work)
        if (served < 0).any():
            raise InvalidInputError(f"the trace has a negative {work!r} in row {int((served < 0).argmax())}")
    notes = []
    if (np.diff(times) < 0).any():
        notes.append("the trace was not in order of time; it was sorted")
        order = np.argsort(times, kind="stable")
        times, names = times[order], names.iloc[order]
        served = None if served is None else served[order]
    times = times - times[0]
    # A trace of n requests has n gaps; the last gap is not in the trace.
    duration = float(times[-1]) * len(times) / max(1, len(times) - 1)
    if not duration > 0:
        raise InvalidInputError("all requests of the trace have the same time, so that it has no rate")
    codes, labels = names.astype(str).factorize()
    counts = np.bincount(codes, minlength=len(labels))
    index = codes.astype(np.int64)
    return {
        "models": tuple(map(str, labels)),
        "rates": counts / duration,
        "cv": gap_cv(times, index, len(labels)),
        "duration": duration,
        "times": times,
        "index": index,
        "service": served,
        "notes": tuple(notes),
    }

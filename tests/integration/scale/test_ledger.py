"""A job with a ledger in S3: each row once in the result, and few calls again after a worker was killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pandas as pd
import pytest

from mme_sdk import MMEClient
from mme_sdk.errors import BucketNotFoundError, InvalidInputError
from mme_sdk.runtime import BatchSettings
from mme_sdk.runtime.telemetry.hooks import CallCompleted
from mme_sdk.scale import Scorer, score, score_part
from tests.integration.scale.test_scoring import Scoring, check, environment, scoring

__all__ = ["environment", "scoring"]

WORKERS, AT_ONCE, ROWS_PER_CALL = 2, 2, 4


class Kill:
    """Ends a worker process, as the kernel does, when its calls have reached a number.

    Args:
        calls: The number.
    """

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, event: Any) -> None:
        if isinstance(event, CallCompleted) and multiprocessing.parent_process() is not None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def scorer_of(client: MMEClient, **more: Any) -> Scorer:
    settings = BatchSettings(max_concurrency=AT_ONCE, ordered=False)
    names: dict[str, Any] = {"model": "tenant", "ids": ["id"], "rows_per_call": ROWS_PER_CALL, "settings": settings}
    return Scorer(endpoint=client.endpoint("scoring"), **names | more)


def calls(scoring: Scoring) -> int:
    return sum(one.operation == "InvokeEndpoint" and one.status == 200 for one in scoring.host.requests.last(2000))


def test_a_job_that_is_run_again_calls_only_what_is_missing(scoring: Scoring) -> None:
    frame, ledger = scoring.frame(120), "s3://scored/jobs/again/"
    scorer = scorer_of(scoring.client)
    before = calls(scoring)
    with ThreadPoolExecutor(3) as workers:
        check(score(frame[:60].drop(columns="expected"), scorer, workers=workers, ledger=ledger), frame[:60])
        first = calls(scoring)
        assert first - before == 18  # ten rows of six models
        check(score(frame[:60].drop(columns="expected"), scorer, workers=workers, buckets=1, ledger=ledger), frame[:60])
        assert calls(scoring) == first
        with pytest.raises(BucketNotFoundError):
            score(frame, scorer, workers=workers, ledger="s3://not-a-bucket/jobs/1/")
    assert calls(scoring) == first


def test_a_moved_alias_is_called_and_not_mixed(scoring: Scoring) -> None:
    scoring.make("moved", 10, "v1")
    scoring.make("moved", 20, "v2")
    scoring.models.alias("moved", "live", "v1")
    frame, ledger = pd.DataFrame({"id": range(8), "tenant": ["moved@live"] * 8, "x": range(8)}), "s3://scored/jobs/m/"
    scorer = scorer_of(scoring.client)
    rows = [{"x": 1.0}, {"x": 2.0}]

    def streamed() -> list[Any]:
        results = scoring.endpoint.invoke_many(
            rows, model_of=lambda _: "moved@live", data_of=lambda row: str(row["x"]), checkpoint="s3://scored/jobs/n/"
        )
        return [one.value for one in results]

    assert score_part(frame, scorer, ledger=ledger)["prediction"].tolist() == [10 * row for row in range(8)]
    assert streamed() == [[10.0], [20.0]]
    before = calls(scoring)
    assert score_part(frame, scorer, ledger=ledger)["prediction"].tolist() == [10 * row for row in range(8)]
    assert streamed() == [[10.0], [20.0]]
    assert calls(scoring) == before
    scoring.models.alias("moved", "live", "v2")
    assert score_part(frame, scorer, ledger=ledger)["prediction"].tolist() == [20 * row for row in range(8)]
    assert streamed() == [[20.0], [40.0]]
    # A name without an alias stands for the newest version, which may change between two runs.
    with pytest.raises(InvalidInputError, match="stands for"):
        score_part(frame.assign(tenant="m0"), scorer, ledger=ledger)


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_a_killed_worker_repeats_at_most_the_calls_that_ran(scoring: Scoring) -> None:
    frame, ledger = scoring.frame(240).drop(columns="expected"), "s3://scored/jobs/killed/"
    expected = scoring.frame(240)
    before = calls(scoring)
    spawn = multiprocessing.get_context("spawn")
    lives = 0
    with scoring.host.client(hooks=[Kill(12)]) as killing:
        with ProcessPoolExecutor(WORKERS, mp_context=spawn) as workers:
            lost = score(frame, scorer_of(killing), workers=workers, ledger=ledger)
        lives += 1
    assert set(lost["error_type"].dropna()) == {"OutcomeUnknownError"}
    assert lost["id"].tolist() == frame["id"].tolist()
    scorer = scorer_of(scoring.client)
    with ProcessPoolExecutor(3, mp_context=spawn) as workers:
        check(score(frame, scorer, workers=workers, ledger=ledger), expected)
    needed = 60  # forty rows of six models
    assert needed < calls(scoring) - before <= needed + WORKERS * AT_ONCE * lives
    done = calls(scoring)
    with ThreadPoolExecutor(1) as workers:
        check(score(frame, scorer, workers=workers, buckets=5, ledger=ledger), expected)
    assert calls(scoring) == done


def test_two_jobs_at_the_same_time_have_each_row_once(scoring: Scoring) -> None:
    frame, ledger = scoring.frame(60), "s3://scored/jobs/race/"
    rows, scorer = frame.drop(columns="expected"), scorer_of(scoring.client)
    ready = threading.Barrier(2, timeout=60)

    def job(buckets: int) -> pd.DataFrame:
        ready.wait()
        with ThreadPoolExecutor(2) as workers:
            scored: pd.DataFrame = score(rows, scorer, workers=workers, buckets=buckets, ledger=ledger)
            return scored

    with ThreadPoolExecutor(2) as jobs:
        for one in [jobs.submit(job, buckets) for buckets in (2, 3)]:
            check(one.result(), frame)
    objects = scoring.host.boto("s3").list_objects_v2(Bucket="scored", Prefix="jobs/race/")["Contents"]
    assert len(objects) == 18

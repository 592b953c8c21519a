"""A job with a ledger in S3: each row once in the result, and few calls again after a worker was killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import tempfile
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


def continued(scoring: Scoring, ledger: str, rows: Any, score_of: Any) -> None:
    """Score half of a table on an executor, the whole on an engine, and check that only the rest is called."""
    expected = scoring.frame(600)
    frame = expected.drop(columns="expected")
    scorer = scorer_of(scoring.client)
    before = calls(scoring)
    with ThreadPoolExecutor(2) as workers:
        score(frame[frame["tenant"] < "m3"], scorer, workers=workers, ledger=ledger)
        first = calls(scoring)
        assert 3 * 25 <= first - before <= 3 * 26  # 100 rows, in two ranges: at most one request more
        scored = score_of(rows(frame), scorer, ledger)
        check(scored.sort_values("id").reset_index(drop=True), expected)
        done = calls(scoring)
        assert 3 * 25 <= done - first <= 3 * 26
        check(score(frame, scorer, workers=workers, buckets=3, ledger=ledger), expected)
    assert calls(scoring) == done


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_dask_continues_a_job_of_an_executor(scoring: Scoring) -> None:
    distributed = pytest.importorskip("distributed")
    dd = pytest.importorskip("dask.dataframe")
    from mme_sdk.scale import dask as scale_dask

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster),
    ):
        continued(
            scoring,
            "s3://scored/jobs/dask/",
            lambda frame: dd.from_pandas(frame, npartitions=5),
            lambda rows, scorer, ledger: scale_dask.score(rows, scorer, buckets=2, ledger=ledger).compute(),
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Ray about itself
@pytest.mark.usefixtures("environment")
def test_ray_continues_a_job_of_an_executor(scoring: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        pytest.skip("Ray listens on all interfaces: run this test in a network namespace")
    from mme_sdk.scale import ray as scale_ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 << 20,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=tempfile.mkdtemp(prefix="mme-ray-"),  # the paths of its sockets must be short
    )
    try:
        continued(
            scoring,
            "s3://scored/jobs/ray/",
            lambda frame: ray.data.from_pandas(frame).repartition(5),
            lambda rows, scorer, ledger: scale_ray.score(rows, scorer, buckets=2, ledger=ledger).to_pandas(),
        )
    finally:
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Spark about itself
@pytest.mark.usefixtures("environment")
def test_spark_continues_a_job_of_an_executor(scoring: Scoring) -> None:
    sql = pytest.importorskip("pyspark.sql")
    from mme_sdk.scale import spark as scale_spark

    builder = sql.SparkSession.builder.master("local[2,4]")
    for name, value in {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "7",  # a range is in several batches
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        continued(
            scoring,
            "s3://scored/jobs/spark/",
            lambda frame: session.createDataFrame(frame).repartition(5),
            lambda rows, scorer, ledger: scale_spark.score(rows, scorer, buckets=2, ledger=ledger).toPandas(),
        )
    finally:
        session.stop()

"""Scores a table of shuffled rows on one engine, and prints what came out. `main.py` runs it.

The clock starts when the engine runs and each of its workers has done an empty task. It stops when the whole result is
in this process. The rows are checked against what the models answer.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import pandas as pd
from endpoint import NAME, factor, target

import mme_sdk.scale
from mme_sdk import MMEClient
from mme_sdk.runtime import BatchSettings
from mme_sdk.scale import Scorer

Job = Callable[[pd.DataFrame, Scorer, int], pd.DataFrame]
_PARTS = 8  # of the input


def table(rows: int, models: int, *, hot: bool) -> pd.DataFrame:
    """Return shuffled rows: the same number of each model, or half of them of the first model."""
    order = pd.Series(range(rows)).sample(frac=1, random_state=1).to_numpy()
    model = order % models
    if hot:
        model[order % 2 == 0] = 0
    targets = [target(number) for number in range(models)]
    expected = [float(row % 1000 * factor(one)) for row, one in zip(order, model, strict=True)]
    tenants = [targets[one] for one in model]
    return pd.DataFrame({"id": order, "tenant": tenants, "expected": expected, "x": order % 1000})


def nothing(*_: Any) -> None:
    """Do nothing, as the first task of a worker."""
    time.sleep(0.2)  # so that each worker gets one


@contextmanager
def processes(workers: int) -> Iterator[Job]:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(nothing, range(workers)))
        yield lambda frame, scorer, buckets: mme_sdk.scale.score(frame, scorer, workers=pool, buckets=buckets)


@contextmanager
def dask(workers: int) -> Iterator[Job]:
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    import mme_sdk.scale.dask

    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with LocalCluster(processes=True, **options) as cluster, Client(cluster) as client:
        client.run(nothing)

        def job(frame: pd.DataFrame, scorer: Scorer, buckets: int) -> pd.DataFrame:
            rows = dd.from_pandas(frame, npartitions=_PARTS, sort=False)
            return mme_sdk.scale.dask.score(rows, scorer, buckets=buckets).compute()

        yield job


@contextmanager
def ray(workers: int) -> Iterator[Job]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    import ray.data

    import mme_sdk.scale.ray

    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        object_store_memory=400 << 20,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=tempfile.mkdtemp(prefix="mme-ray-"),  # the paths of its sockets must be short
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        ray.get([ray.remote(nothing).remote() for _ in range(workers)])

        def job(frame: pd.DataFrame, scorer: Scorer, buckets: int) -> pd.DataFrame:
            rows = ray.data.from_pandas(frame).repartition(_PARTS)
            return mme_sdk.scale.ray.score(rows, scorer, buckets=buckets).to_pandas()

        yield job
    finally:
        ray.shutdown()


@contextmanager
def spark(workers: int) -> Iterator[Job]:
    from pyspark.sql import SparkSession

    import mme_sdk.scale.spark

    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": str(workers),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
    }
    builder = SparkSession.builder.master(f"local[{workers},4]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        session.sparkContext.parallelize(range(workers), workers).foreach(nothing)

        def job(frame: pd.DataFrame, scorer: Scorer, buckets: int) -> pd.DataFrame:
            rows = session.createDataFrame(frame).repartition(_PARTS)
            return mme_sdk.scale.spark.score(rows, scorer, buckets=buckets).toPandas()

        yield job
    finally:
        session.stop()


ENGINES = {"processes": processes, "dask": dask, "ray": ray, "spark": spark}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--models", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--buckets", type=int, help="default: one for each worker")
    parser.add_argument("--rows-per-call", type=int, default=256)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--hot", action="store_true", help="half of the rows have the first model")
    options = parser.parse_args()
    frame = table(options.rows, options.models, hot=options.hot)
    scorer = Scorer(
        endpoint=MMEClient().endpoint(NAME),
        model="tenant",
        ids=["id", "expected"],
        rows_per_call=options.rows_per_call,
        settings=BatchSettings(max_concurrency=options.concurrency, ordered=False),
    )
    began = time.perf_counter()
    with ENGINES[options.engine](options.workers) as job:
        ready = time.perf_counter()
        scored = job(frame, scorer, options.buckets or options.workers)
        ended = time.perf_counter()
    failed = scored["error"].notna()
    found = {
        "start": ready - began,
        "wall": ended - ready,
        "missing": len({*frame["id"]} - {*scored["id"]}),
        "twice": int(scored["id"].duplicated().sum()),
        "failed": int(failed.sum()),
        "wrong": int((scored["prediction"] != scored["expected"])[~failed].sum()),
        "errors": scored["error"][failed].value_counts().head(3).to_dict(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Scores a table of shuffled rows on one engine, and prints what came out. `main.py` runs it.

The clock starts when the engine runs and its workers have the rows, each after a task that changed nothing. It stops
when the whole result is in this process. The rows are checked against what the models answer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import attrs
import pandas as pd
from endpoint import NAME, factor, target

import mme_sdk.scale
from mme_sdk import MMEClient
from mme_sdk.runtime import BatchSettings
from mme_sdk.scale import Scorer


@attrs.frozen
class Engine:
    """A running engine.

    Attributes:
        place: Returns a table of the engine with the rows of a frame, which are in its workers then.
        score: Returns the scored rows of such a table, in this process.
    """

    place: Callable[[pd.DataFrame], Any]
    score: Callable[[Any, Scorer, int], pd.DataFrame]


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


def same(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a part of a table unchanged: the first task of a worker."""
    return frame


def wait(_: int) -> None:
    """Wait, so that each worker has one such task."""
    time.sleep(0.2)


@contextmanager
def processes(workers: int) -> Iterator[Engine]:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(wait, range(workers)))
        yield Engine(
            lambda frame: frame,
            lambda rows, scorer, buckets: mme_sdk.scale.score(rows, scorer, workers=pool, buckets=buckets),
        )


@contextmanager
def dask(workers: int) -> Iterator[Engine]:
    import dask.dataframe as dd
    from distributed import Client, LocalCluster, wait

    import mme_sdk.scale.dask

    def place(frame: pd.DataFrame) -> Any:
        rows = dd.from_pandas(frame, npartitions=_PARTS, sort=False).map_partitions(same, meta=frame.iloc[:0]).persist()
        wait(rows)
        return rows

    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with LocalCluster(processes=True, **options) as cluster, Client(cluster):
        yield Engine(
            place, lambda rows, scorer, buckets: mme_sdk.scale.dask.score(rows, scorer, buckets=buckets).compute()
        )


@contextmanager
def ray(workers: int) -> Iterator[Engine]:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "300"}
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
        yield Engine(
            lambda frame: (
                ray.data.from_pandas(frame).repartition(_PARTS).map_batches(same, batch_format="pandas").materialize()
            ),
            lambda rows, scorer, buckets: mme_sdk.scale.ray.score(rows, scorer, buckets=buckets).to_pandas(),
        )
    finally:
        ray.shutdown()


@contextmanager
def spark(workers: int) -> Iterator[Engine]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
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

    def place(frame: pd.DataFrame) -> Any:
        given = session.createDataFrame(frame)
        rows = given.repartition(_PARTS).mapInPandas(lambda parts: map(same, parts), given.schema).cache()
        rows.count()
        return rows

    try:
        yield Engine(
            place, lambda rows, scorer, buckets: mme_sdk.scale.spark.score(rows, scorer, buckets=buckets).toPandas()
        )
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
    began = time.time()
    with ENGINES[options.engine](options.workers) as engine:
        rows = engine.place(frame)
        ready = time.time()
        scored = engine.score(rows, scorer, options.buckets or options.workers)
        ended = time.time()
    failed = scored["error"].notna()
    found = {
        "began": began,
        "ready": ready,
        "ended": ended,
        "missing": len({*frame["id"]} - {*scored["id"]}),
        "twice": int(scored["id"].duplicated().sum()),
        "failed": int(failed.sum()),
        "wrong": int((scored["prediction"] != scored["expected"])[~failed].sum()),
        "errors": scored["error"][failed].value_counts().head(3).to_dict(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

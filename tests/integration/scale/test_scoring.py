"""Tables scored in several processes against the embedded SageMaker."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mme_sdk import EndpointSpec, MMEClient, ModelRegistry
from mme_sdk.local import Fault, HostingSettings, LocalSageMaker
from mme_sdk.runtime import BatchSettings
from mme_sdk.scale import Scorer, score

SCRIPT = """
import json, os

def model_fn(directory):
    facts = json.load(open(os.path.join(directory, "facts.json")))
    with open(facts["log"], "a") as log:
        log.write(facts["name"] + "\\n")
    return facts

def input_fn(body, content_type):
    text = body if isinstance(body, str) else bytes(body).decode()
    return [float(line) for line in text.split()]

def predict_fn(rows, facts):
    return [row * facts["factor"] for row in rows]

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


class Scoring:
    """A host with one endpoint of models that multiply, and a log of their loads."""

    def __init__(self, host: LocalSageMaker, client: MMEClient, folder: Path) -> None:
        self.host, self.client, self.folder = host, client, folder
        self.log = folder / "loads.log"
        host.boto("s3").create_bucket(Bucket="scored")
        self.models: ModelRegistry = client.models("s3://scored/prod/")
        self.targets = [self.make(f"m{number}", number + 1) for number in range(6)]
        spec = EndpointSpec.multi_model(
            name="scoring",
            models=self.models.uri,
            image="any:1",
            role="arn:aws:iam::123456789012:role/r",
            instance_type="ml.m5.large",
        )
        self.endpoint = client.endpoints.create(spec, timeout=60)

    def make(self, name: str, factor: int, version: str = "v1") -> str:
        """Register a model that multiplies by a factor."""
        source = self.folder / f"{name}-{version}"
        (source / "code").mkdir(parents=True)
        (source / "code" / "inference.py").write_text(SCRIPT)
        facts = {"name": name, "factor": factor, "log": str(self.log)}
        (source / "facts.json").write_text(json.dumps(facts))
        return self.models.register(name, source, version=version).target_model

    def frame(self, rows: int) -> pd.DataFrame:
        """Return rows of all models in no order."""
        places = [(7 * row) % len(self.targets) for row in range(rows)]
        factors = [place + 1 for place in places]
        models = [self.targets[place] for place in places]
        return pd.DataFrame({"tenant": models, "id": range(rows), "x": range(rows), "expected": factors})


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scoring]:
    with LocalSageMaker(settings=HostingSettings(isolate=False)) as host, host.client() as client:
        yield Scoring(host, client, tmp_path_factory.mktemp("scoring"))


@pytest.fixture
def environment(scoring: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the credentials of the host to the worker processes: those of the client do not travel."""
    for name, value in scoring.host.environ().items():
        if name.startswith(("AWS_ACCESS", "AWS_SECRET")):
            monkeypatch.setenv(name, value)


def check(scored: pd.DataFrame, frame: pd.DataFrame) -> None:
    assert scored["error"].isna().all(), scored["error"].dropna().iloc[0]
    assert scored["prediction"].tolist() == (frame["x"] * frame["expected"]).tolist()


def test_no_item_fails_at_an_endpoint_with_a_rate(scoring: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    # In the time of the rate, 50 requests come a second, however slow the machine.
    requests = itertools.count()
    monkeypatch.setattr(scoring.host.faults, "_now", lambda: next(requests) / 50)
    fault = scoring.host.faults.add(Fault(kind="rate", operation="InvokeEndpoint", rate=25))
    try:
        results = list(
            scoring.endpoint.invoke_many(
                range(75),
                model_of=lambda row: scoring.targets[row % 6],
                data_of=lambda row: f"{row}\n".encode(),
                content_type="text/csv",
                settings=BatchSettings(max_concurrency=48),
            )
        )
        assert scoring.host.faults.list()[fault]["triggered"]
    finally:
        scoring.host.faults.remove(fault)
    assert [result.error for result in results] == [None] * 75
    assert [result.value for result in results] == [[row * (row % 6 + 1.0)] for row in range(75)]


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_processes_score_a_table_and_load_each_model_once(scoring: Scoring) -> None:
    frame = scoring.frame(300)
    scorer = Scorer(endpoint=scoring.endpoint, model="tenant", ids=["id"])
    before = Counter(scoring.log.read_text().split()) if scoring.log.exists() else Counter()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as workers:
        scored = score(frame.drop(columns="expected"), scorer, workers=workers)
    check(scored, frame)
    after = Counter(scoring.log.read_text().split())
    assert max((after - before).values(), default=0) <= 1


def test_a_deploy_in_the_middle_of_a_job_does_not_mix_versions(scoring: Scoring) -> None:
    scoring.make("deployed", 10, "v1")
    scoring.make("deployed", 20, "v2")
    scoring.models.alias("deployed", "live", "v1")
    frame = pd.DataFrame({"tenant": ["deployed@live"] * 4, "x": range(4)})
    scorer = Scorer(endpoint=scoring.endpoint, model="tenant")
    pinned = scorer.pin(frame["tenant"])
    assert pinned.pinned == {"deployed@live": "deployed/v1.tar.gz"}
    assert pinned(frame)["prediction"].tolist() == [0, 10, 20, 30]
    scoring.models.alias("deployed", "live", "v2")
    assert pinned(frame)["prediction"].tolist() == [0, 10, 20, 30]
    assert scorer(frame)["prediction"].tolist() == [0, 20, 40, 60]
    with ThreadPoolExecutor(2) as workers:
        assert score(frame, scorer, workers=workers)["prediction"].tolist() == [0, 20, 40, 60]
    missing = frame.assign(tenant="deployed@nothing")
    assert set(scorer.pin(missing["tenant"])(missing)["error_type"]) == {"ModelNotFoundError"}


def end(row: Any) -> str:
    """Return the model of a row, and end the process for one of them, as a killed worker does."""
    if row["x"] == 17 and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return str(row["model"])


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_a_killed_worker_loses_no_row(scoring: Scoring) -> None:
    frame = scoring.frame(60).rename(columns={"tenant": "model"})
    scorer = Scorer(endpoint=scoring.endpoint, model=end, ids=["id", "model", "expected"])
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as workers:
        scored = score(frame, scorer, workers=workers)
    assert scored["id"].tolist() == frame["id"].tolist()
    assert "OutcomeUnknownError" in set(scored["error_type"].dropna())


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_dask_scores_each_row_once_and_loads_each_model_once(scoring: Scoring) -> None:
    distributed = pytest.importorskip("distributed")
    dd = pytest.importorskip("dask.dataframe")
    from mme_sdk.scale import dask as scale_dask

    frame = scoring.frame(600)
    scorer = Scorer(endpoint=scoring.endpoint, model="tenant", ids=["id"])
    before = Counter(scoring.log.read_text().split()) if scoring.log.exists() else Counter()
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster),
    ):
        rows = dd.from_pandas(frame.drop(columns="expected"), npartitions=5)
        result = scale_dask.score(rows, scorer, buckets=2)
        scored = result.compute().sort_values("id").reset_index(drop=True)
        assert dict(result.dtypes) == dict(scored.dtypes)
    check(scored, frame)
    after = Counter(scoring.log.read_text().split())
    assert max((after - before).values(), default=0) <= 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Ray about itself
@pytest.mark.usefixtures("environment")
def test_ray_scores_each_row_once_and_loads_each_model_once(scoring: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray listens on all interfaces and asks for the address of the machine. Run this test in a network of its own:
    # unshare -n sh -c 'ip link set lo up; exec python -m pytest tests/integration/scale -k ray'
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        pytest.skip("Ray listens on all interfaces: run this test in a network namespace")
    from mme_sdk.scale import ray as scale_ray

    frame = scoring.frame(600)
    scorer = Scorer(endpoint=scoring.endpoint, model="tenant", ids=["id"])
    before = Counter(scoring.log.read_text().split()) if scoring.log.exists() else Counter()
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 << 20,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=tempfile.mkdtemp(prefix="mme-ray-"),  # the paths of its sockets must be short
    )
    try:
        rows = ray.data.from_pandas(frame.drop(columns="expected")).repartition(5)
        scored = scale_ray.score(rows, scorer, buckets=2).to_pandas().sort_values("id").reset_index(drop=True)
    finally:
        ray.shutdown()
    check(scored, frame)
    after = Counter(scoring.log.read_text().split())
    assert max((after - before).values(), default=0) <= 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Spark about itself
@pytest.mark.usefixtures("environment")
def test_spark_scores_each_row_once_and_loads_each_model_once(scoring: Scoring) -> None:
    sql = pytest.importorskip("pyspark.sql")
    from mme_sdk.scale import spark as scale_spark

    frame = scoring.frame(600)
    scorer = Scorer(endpoint=scoring.endpoint, model="tenant", ids=["id"])
    before = Counter(scoring.log.read_text().split()) if scoring.log.exists() else Counter()
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
    }
    builder = sql.SparkSession.builder.master("local[2,4]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        rows = session.createDataFrame(frame.drop(columns="expected")).repartition(5)
        result = scale_spark.score(rows, scorer, buckets=2)
        scored = result.toPandas().sort_values("id").reset_index(drop=True)
        assert result.columns == ["id", "tenant", "prediction", "error", "error_type"]
    finally:
        session.stop()
    check(scored, frame)
    after = Counter(scoring.log.read_text().split())
    assert max((after - before).values(), default=0) <= 1

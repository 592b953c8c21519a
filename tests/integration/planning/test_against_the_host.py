"""Prediction against the embedded SageMaker really serving: its containers, its S3, its HTTP, real time."""

import asyncio
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import attrs
import numpy as np
import pytest
from botocore.config import Config

from mme_sdk import EndpointSpec
from mme_sdk.local import ControlSettings, LocalSageMaker
from mme_sdk.local.hosting.settings import HostingSettings
from mme_sdk.metrics import read_metrics
from mme_sdk.planning import Workload
from mme_sdk.planning.simulation import FleetConfig, Traffic, simulate

SIZE = 10 * 2**20  # what the host reckons each model takes
INFERENCE = """
import time

def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return body

def predict_fn(data, model):
    time.sleep(0.02)
    return [1]
"""


@attrs.frozen
class Case:
    load: Workload
    fit: int
    instances: int
    seconds: float
    loading: float = 1.5  # simulated seconds of a load
    one_by_one: bool = False  # each call waits for the one before, so that no machine is too slow for it


CASES = {
    "steep, one instance": Case(Workload.zipf(40, exponent=1.2, rate=3.0), fit=14, instances=1, seconds=60.0),
    "flat, two instances": Case(Workload.zipf(30, exponent=0.6, rate=1.5), fit=10, instances=2, seconds=60.0),
    "bursty, two instances": Case(Workload.zipf(40, exponent=0.9, rate=2.5, cv=3.0), fit=12, instances=2, seconds=60.0),
}


def serve(case, tmp_path):
    """The trace as it was served: latencies, hit ratio; and what a warm and a cold call took before."""
    trace = case.load.sample(case.seconds, seed=1)
    settings = HostingSettings(
        memory_bytes=case.fit * SIZE,
        memory_per_model=SIZE,
        memory_per_byte=0.0,
        load_seconds=case.loading,
        metrics_seconds=0.5,
    )
    control = ControlSettings(provisioning=0.05, scaling=0.02, deletion=0.02, wait_scale=0.001)
    (tmp_path / "inference.py").write_text(INFERENCE)
    with LocalSageMaker(settings=settings, control=control) as host, host.client() as client:
        s3 = host.boto("s3")
        s3.create_bucket(Bucket="planned")
        s3.close()
        models = client.models("s3://planned/prod/")
        targets = [models.register(name, tmp_path, version="1").target_model for name in trace.models]

        def endpoint(name):
            spec = EndpointSpec.multi_model(
                name=name, models=models.uri, image="any:1", role="arn:aws:iam::123456789012:role/r",
                instance_type="ml.m5.large", instance_count=case.instances,
            )  # fmt: skip
            return client.endpoints.create(spec, timeout=60)

        # Plain boto3, and a thread for each call: what is measured is the host, not our client's care for cold models.
        runtime = host.session().client(
            "sagemaker-runtime",
            endpoint_url=host.endpoint_url,
            config=Config(max_pool_connections=64, retries={"total_max_attempts": 1}),
        )

        def call(handle, target):
            start = time.perf_counter()
            answer = runtime.invoke_endpoint(
                EndpointName=handle.name, TargetModel=target, Body=b"{}", ContentType="application/json"
            )
            answer["Body"].read()
            return time.perf_counter() - start

        probe = endpoint("probe")
        cold = statistics.median([call(probe, target) for target in targets[:2]])
        warm = statistics.median([call(probe, target) for target in [targets[1]] * 8])
        probe.delete()
        measured = endpoint("measured")

        async def replay():
            loop = asyncio.get_running_loop()
            loop.set_default_executor(ThreadPoolExecutor(64))
            start = loop.time()

            async def one(at, target):
                await asyncio.sleep(at - (loop.time() - start))
                return await asyncio.to_thread(call, measured, target)

            return await asyncio.gather(
                *(one(at, targets[model]) for at, model in zip(trace.times, trace.index, strict=True))
            )

        if case.one_by_one:
            latency = np.asarray([call(measured, targets[model]) for model in trace.index])
        else:
            latency = np.asarray(asyncio.run(replay()))
        seen = client._aws.run(read_metrics("measured", hours=1, now=datetime.now(UTC)))
        measured.delete()
        runtime.close()
    return trace, latency, seen, warm, cold


def check(case, tmp_path):
    trace, latency, seen, warm, cold = serve(case, tmp_path)
    count = len(trace.models)
    times = 1000.0 * np.arange(len(trace.times)) if case.one_by_one else trace.times
    traffic = Traffic(
        times=times, models=trace.index, service=np.full(len(trace.times), warm), disk=np.ones(count),
        memory=np.ones(count), download=np.full(count, 1e-3), load=np.full(count, cold - warm),
    )  # fmt: skip
    config = FleetConfig(instances=case.instances, workers=64, memory_bytes=case.fit, volume_bytes=10**6)
    predicted = simulate(traffic, config, skip=0.0)
    print(
        f"hit ratio {predicted.hit_ratio:.3f} predicted, {seen.hit_ratio:.3f} seen; "
        f"p95 {predicted.quantile(0.95)[0]:.3f} s predicted, {np.quantile(latency, 0.95):.3f} s seen"
    )
    assert seen.invocations.total == len(trace.times)
    assert predicted.hit_ratio == pytest.approx(seen.hit_ratio, abs=0.03)
    assert 0.2 < predicted.hit_ratio < 0.98  # or there was nothing to predict
    return predicted.quantile(0.95)[0], np.quantile(latency, 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_hit_ratio_and_p95_are_those_of_the_host(case, tmp_path):
    predicted, seen = check(case, tmp_path)
    assert predicted == pytest.approx(seen, rel=0.2)


def test_hit_ratio_in_short(tmp_path):
    load = Workload.zipf(12, exponent=0.9, rate=10.0)
    check(Case(load, fit=7, instances=1, seconds=5.0, loading=0.01, one_by_one=True), tmp_path)

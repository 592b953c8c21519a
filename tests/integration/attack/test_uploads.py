"""Hostile archives straight into the bucket of an embedded host: each is answered at once, and others go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.artifacts import inspect
from mme_sdk.errors import LayoutError
from mme_sdk.local import LocalSageMaker
from tests.integration.attack.test_archives import DEEP, DIGITS, REFUSED, TAKEN
from tests.support.attack.rawtar import archive, extended, member, pax

SCRIPT = b"""
def model_fn(folder): return "good"
def input_fn(data, kind): return str(data, 'utf-8') if isinstance(data, bytes) else data
def predict_fn(data, model): return model + ":" + data
def output_fn(said, kind): return said, "text/plain"
"""
GOOD = archive(member(b"code/inference.py", SCRIPT))
ROLE = "arn:aws:iam::123456789012:role/SageMaker"
WORST = ("1,600 levels", "pax header of digits", "pax size of 10^20", "3,000 chained pax headers", "300-character name")


def bombs() -> dict[str, bytes]:
    return {
        "zeros": archive(member(b"zeros", bytes(64 << 20)), end=b"") + archive(member(), end=bytes(2 << 20)),
        "headers": archive(*(extended(b"n" * 900 + b"\0", b"L") + member() for _ in range(20_000))),
        "records": archive(*(pax(**{f"k{i}": b"v" for i in range(250)}) + member() for _ in range(5_000)), b"x"),
        "deep": archive(*(pax(path=DEEP[:197] + b"/%d" % i) + member() for i in range(5_000)), b"x"),
        "digits": archive(*(extended(DIGITS) + member() for _ in range(50))),
    }


@pytest.fixture(scope="module")
def served(local: LocalSageMaker) -> Iterator[tuple[LocalSageMaker, str]]:
    bucket = "hostile-archives"
    s3, sm = local.boto("s3"), local.boto("sagemaker")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="good.tar.gz", Body=GOOD)
    container = {"Image": "python", "Mode": "MultiModel", "ModelDataUrl": f"s3://{bucket}/"}
    sm.create_model(ModelName="hostile", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "v", "ModelName": "hostile", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sm.create_endpoint_config(EndpointConfigName="hostile", ProductionVariants=[variant])
    sm.create_endpoint(EndpointName="hostile", EndpointConfigName="hostile")
    waiter = sm.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName="hostile", WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    yield local, bucket
    sm.delete_endpoint(EndpointName="hostile")
    s3.close()
    sm.close()


def attack(served: tuple[LocalSageMaker, str], archives: dict[str, bytes], *, tries: int = 1) -> dict[str, str]:
    """Upload and invoke hostile archives, while a good model is asked all the time; what each was answered."""
    local, bucket = served
    s3, runtime = local.boto("s3"), local.boto("sagemaker-runtime")
    for number, data in enumerate(archives.values()):
        s3.put_object(Bucket=bucket, Key=f"{number}.tar.gz", Body=data)
    over = threading.Event()
    good: list[bytes] = []

    def ask(target: str) -> Any:
        return runtime.invoke_endpoint(EndpointName="hostile", TargetModel=target, ContentType="text/plain", Body=b"x")

    def ask_good() -> None:
        while not over.is_set():
            good.append(ask("good.tar.gz")["Body"].read())

    def ask_hostile(number: int) -> str:
        for _ in range(tries):
            with pytest.raises((runtime.exceptions.ClientError, runtime.exceptions.ModelError)) as caught:
                ask(f"{number}.tar.gz")
            error = caught.value.response["Error"]
            if error["Code"] != "ModelNotReadyException":
                return f"{error['Code']}: {error['Message']}"
        pytest.fail(f"{number} burned its deadline of 60 s")

    with ThreadPoolExecutor(5) as pool:
        beside = pool.submit(ask_good)
        try:
            answers = list(pool.map(ask_hostile, range(len(archives))))
        finally:
            over.set()
        beside.result()
    assert good
    assert set(good) == {b"good:x"}
    states = local.status()["endpoints"]
    assert "downloading" not in json.dumps(states)
    s3.close()
    runtime.close()
    return dict(zip(archives, answers, strict=True))


def check(answers: dict[str, str], archives: dict[str, bytes], folder: Path) -> None:
    for name, answer in answers.items():
        assert answer.startswith("ValidationError: Failed to extract model data archive"), (name, answer)
        path = folder / "the archive"
        path.write_bytes(archives[name])
        with pytest.raises(LayoutError) as caught:
            inspect(path, max_bytes=30 * 10**9)
        assert caught.value.message.removeprefix(str(path)) in answer


def test_the_worst_are_answered_at_once(served: tuple[LocalSageMaker, str], tmp_path: Path) -> None:
    archives = {name: REFUSED[name][0] for name in WORST}
    check(attack(served, archives), archives, tmp_path)


@pytest.mark.slow
def test_all_are_answered_at_once(served: tuple[LocalSageMaker, str], tmp_path: Path) -> None:
    archives = {name: data for name, (data, _) in REFUSED.items()}
    check(attack(served, archives), archives, tmp_path)


@pytest.mark.slow
def test_bombs_are_answered_and_others_go_on(served: tuple[LocalSageMaker, str]) -> None:
    for name, answer in attack(served, bombs(), tries=20).items():
        assert answer.startswith("ValidationError: Failed to extract"), (name, answer)


def test_register_says_the_same(served: tuple[LocalSageMaker, str], tmp_path: Path) -> None:
    local, bucket = served
    with local.client() as client:
        models = client.models(f"s3://{bucket}/registered/")
        for number, name in enumerate(REFUSED):
            path = tmp_path / f"{number}.tar.gz"
            path.write_bytes(REFUSED[name][0])
            with pytest.raises(LayoutError) as inspected:
                inspect(path)
            with pytest.raises(LayoutError) as registered:
                models.register("hostile", path)
            assert registered.value.message == inspected.value.message, name
        assert list(models.list()) == []


def test_odd_but_sound_archives_are_served_what_they_hold(served: tuple[LocalSageMaker, str]) -> None:
    local, bucket = served
    s3, runtime = local.boto("s3"), local.boto("sagemaker-runtime")
    script = archive(member(b"code/inference.py", SCRIPT), end=b"")
    for number, (data, _) in enumerate([TAKEN["a member twice"], TAKEN["concatenated gzip"], TAKEN["100 levels"]]):
        s3.put_object(Bucket=bucket, Key=f"odd-{number}.tar.gz", Body=script + data)
        answer = runtime.invoke_endpoint(
            EndpointName="hostile", TargetModel=f"odd-{number}.tar.gz", ContentType="text/plain", Body=b"x"
        )
        assert answer["Body"].read() == b"good:x"
    s3.close()
    runtime.close()

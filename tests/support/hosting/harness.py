"""Drives `LocalHosting` directly, on an event loop of the test's own, with a real S3 and real containers."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import boto3

from mme_sdk.artifacts import pack
from mme_sdk.local.containers import PYTHON, Command
from mme_sdk.local.faults import Faults
from mme_sdk.local.hosting import HostingSettings, LocalHosting
from mme_sdk.local.hosting_interface import (
    ContainerPlan,
    Deployment,
    HostContext,
    Invocation,
    InvocationResponse,
    VariantPlan,
)
from mme_sdk.local.storage.s3 import S3Server
from mme_sdk.protocols import AsyncClock
from tests.support.gates import PASS_GATE

BARE = Command(
    [*PYTHON.argv, "--preload", ""], [*(PYTHON.single or ()), "--preload", ""]
)  # scripts need no libraries, and start-up is what tests mostly do

# The fleet's own accounts are looked at, without 507s of a container that counts what processes really take.
UNLIMITED = Command([word for word in BARE.argv if word not in ("--memory-budget", "{memory}")])

ECHO = (
    PASS_GATE
    + """
import os
def model_fn(model_dir):
    if os.path.exists(os.path.join(model_dir, "fail")):
        raise RuntimeError("no weights")
    wait = os.path.join(model_dir, "wait")
    if os.path.exists(wait):
        pass_gate(open(wait).read())
    return open(os.path.join(model_dir, "name")).read()
def input_fn(data, content_type):
    return str(data, 'utf-8') if not isinstance(data, str) else data
def predict_fn(data, model):
    if data == "crash":
        os.kill(os.getppid(), 9)
    if data == "fault":
        raise ValueError("bad row")
    if data.startswith("wait:"):
        pass_gate(data[5:])
    return model + ":" + data
def output_fn(prediction, accept):
    return prediction, "text/plain"
"""
)


class Bench:
    """One `LocalHosting` with a bucket."""

    def __init__(self, hosting: LocalHosting, s3: Any, bucket: str, folder: Path) -> None:
        self.hosting = hosting
        self.s3 = s3
        self.bucket = bucket
        self.folder = folder
        self._requests = 0

    async def upload(self, key: str, *, script: str = ECHO, pad: int = 0, **files: str) -> None:
        directory = self.folder / "packing" / key.replace("/", "_")
        (directory / "code").mkdir(parents=True, exist_ok=True)
        (directory / "code" / "inference.py").write_text(script)
        (directory / "name").write_text(Path(key).name.removesuffix(".tar.gz"))
        for name, text in files.items():
            (directory / name).write_text(text)
        if pad:
            (directory / "weights").write_bytes(__import__("random").Random(key).randbytes(pad))
        archive = io.BytesIO()
        pack(directory, archive)
        await self.put(key, archive.getvalue())

    async def put(self, key: str, body: bytes) -> None:
        await asyncio.to_thread(self.s3.put_object, Bucket=self.bucket, Key=key, Body=body)

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self.s3.delete_object, Bucket=self.bucket, Key=key)

    async def deploy(self, name: str = "e", *, instances: int = 1, **container: Any) -> None:
        await self.hosting.deploy(
            Deployment(endpoint=name, config_name="c", variants=(self.variant(instances=instances, **container),))
        )

    def variant(
        self, name: str = "AllTraffic", *, instances: int = 1, weight: float = 1.0, **container: Any
    ) -> VariantPlan:
        given = {"image": "python", "mode": "MultiModel", "model_data_url": f"s3://{self.bucket}/models/", **container}
        return VariantPlan(
            name=name,
            model_name="m",
            containers=(ContainerPlan(**given),),
            instance_type="ml.m5.large",
            instance_count=instances,
            weight=weight,
        )

    @staticmethod
    def deployment(**plan: Any) -> Deployment:
        return Deployment(**plan)

    async def invoke(
        self, model: str | None, body: bytes | str = b"hi", *, endpoint: str = "e", **headers: str
    ) -> InvocationResponse:
        self._requests += 1
        given = {"content-type": "text/plain", **{k.replace("_", "-").lower(): v for k, v in headers.items()}}
        if model is not None:
            given["x-amzn-sagemaker-target-model"] = model
        return await self.hosting.invoke(
            Invocation(
                endpoint=endpoint,
                body=body if isinstance(body, bytes) else body.encode(),
                headers=given,
                request_id=f"request-{self._requests}",
            )
        )


def error(answer: InvocationResponse) -> tuple[int, str, str]:
    """Status, code and message of an error, having checked its shape."""
    said = json.loads(answer.body)
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status, answer.headers["x-amzn-ErrorType"], said["Message"]


def run(
    s3_server: S3Server,
    bucket: str,
    folder: Path,
    scenario: Callable[[Bench], Awaitable[None]],
    *,
    images: dict[str, Command] | None = None,
    clock: AsyncClock | None = None,
    faults: Faults | None = None,
    measure: Callable[[str, str, str, float], None] | None = None,
    **settings: Any,
) -> None:
    """Run one scenario against a fresh host, and check that nothing is left of it."""
    s3 = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local-secret",
    )
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
        s3.create_bucket(Bucket=bucket)

    async def main() -> None:
        context = HostContext(
            data_dir=folder / "hosting",
            s3_endpoint_url=s3_server.endpoint_url,
            access_key="local",
            secret_key="local-secret",
            region="us-east-1",
            account_id="123456789012",
            images={"python": BARE, **(images or {})},
            settings=HostingSettings(**settings),
            faults=faults or Faults(),
            **({} if measure is None else {"measure": measure}),
        )
        hosting = LocalHosting(context, clock=clock)
        try:
            await asyncio.wait_for(scenario(Bench(hosting, s3, bucket, folder)), 300)
        finally:
            await hosting.close()
        assert not list((folder / "hosting" / "volumes").rglob("*.tar.gz"))
        assert not [path for path in (folder / "hosting" / "volumes").rglob("*") if path.is_file()]

    failures = _Failures(level=logging.ERROR)
    logging.getLogger("mme_sdk.local").addHandler(failures)
    try:
        asyncio.run(main())
    finally:
        s3.close()
        logging.getLogger("mme_sdk.local").removeHandler(failures)
    assert not failures.said, failures.said


class _Failures(logging.Handler):
    """Background work that failed would otherwise go unseen."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))

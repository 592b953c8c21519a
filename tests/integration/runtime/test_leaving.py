"""An interpreter that ends without `close()` or `stop()` prints nothing, also with `python -W error -X dev`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local.helpers import MULTIPLY
from tests.support.runtime.recorder import Recorder
from tests.support.selection import pairs

HANGS = 120.0  # seconds
START = """
import asyncio, sys, threading
import boto3
from mme_sdk import AsyncMMEClient, MMEClient
session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
def made(kind):
    return kind(session=session, endpoint_url=sys.argv[1], transport=sys.argv[2])
"""
ENDS = {
    "client left open": """
client = made(MMEClient)
assert client.endpoint("e").invoke(b"1").value == [1.0]
""",
    "client left open in a function": """
def work():
    client = made(MMEClient)
    client.endpoint("e").invoke(b"1")
work()
""",
    "batch half-way": """
client = made(MMEClient)
results = client.endpoint("e").invoke_many([b"1", b"blocks", b"blocks"])
assert next(results).error is None
""",
    "batch in a thread": """
client = made(MMEClient)
begun = threading.Event()
def items():
    yield b"1"
    begun.set()
    yield b"blocks"
thread = threading.Thread(target=lambda: list(client.endpoint("e").invoke_many(items())), daemon=True)
thread.start()
begun.wait()
""",
    "stream half-way": """
client = made(MMEClient)
stream = client.endpoint("e").invoke_stream(b"1")
assert next(iter(stream)) == b"[1.0]"
""",
    "awaited client left open": """
async def work():
    client = made(AsyncMMEClient)
    assert (await client.endpoint("e").invoke(b"1")).value == [1.0]
asyncio.run(work())
""",
    "awaited client left open, kept": """
async def work():
    client = made(AsyncMMEClient)
    await asyncio.gather(*(client.endpoint("e").invoke(b"1") for _ in range(3)))
    return client
client = asyncio.run(work())
""",
    "awaited batch half-way": """
async def work():
    client = made(AsyncMMEClient)
    async for result in client.endpoint("e").invoke_many([b"1", b"blocks", b"blocks"]):
        return result
asyncio.run(work())
""",
}
HOST = """
import sys
from mme_sdk.local import LocalSageMaker
host = LocalSageMaker()
host.start() if sys.argv[1] == "start" else host.__enter__()
client = host.client()
host.boto("s3").create_bucket(Bucket="left")
models = client.models("s3://left/models/")
assert list(models.list()) == []
if sys.argv[2:]:
    from mme_sdk import EndpointSpec
    model = models.register("double", sys.argv[2])
    role = "arn:aws:iam::123456789012:role/sagemaker"
    spec = EndpointSpec.multi_model(
        name="left", models=models.uri, image="any", instance_type="ml.m5.large", role=role
    )
    assert client.endpoints.create(spec).invoke([1], model=model).value == [2]
"""


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as made:
        yield made


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    flags = ["-W", "error", "-X", "dev"]
    return subprocess.run(
        [sys.executable, *flags, "-c", script, *arguments], capture_output=True, text=True, timeout=HANGS, check=False
    )


def said(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """Lines on stderr. asyncio's debug mode tells what was slow on a busy machine; that is not an error."""
    return [line for line in ended.stderr.splitlines() if not line.startswith("Executing <")]


@pytest.mark.parametrize(("end", "transport"), pairs(ENDS, ["core", "botocore"]))
def test_an_exit_without_close_prints_nothing(recorder: Recorder, transport: str, end: str) -> None:
    ended = run(START + ENDS[end], recorder.url, transport)
    assert (ended.returncode, said(ended)) == (0, [])


def test_an_exit_without_stop_prints_no_traceback_and_leaves_no_process() -> None:
    ended = run(HOST, "start")
    assert (ended.returncode, said(ended)) == (0, [])


def test_an_exit_with_an_endpoint_in_service_prints_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(MULTIPLY.format(factor=2))
    ended = run(HOST, "start", str(tmp_path))
    assert (ended.returncode, said(ended)) == (0, [])

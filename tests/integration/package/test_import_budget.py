"""What each entry point imports: how many modules, and none that a program which only invokes does not need."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.transport.behaviours import BEHAVIOURS
from tests.support.transport.server import ACCESS, REGION, SECRET, LoopbackServer

CONTROL_PLANE = {"boto3", "botocore", "pydantic", "tenacity", "mme_sdk.endpoints.flows", "mme_sdk.registry.store"}
OPERATIONS = {"mme_sdk.endpoints.spec.serialization", "mme_sdk.endpoints.autoscaling", "mme_sdk.metrics.reading"}
BATCHES = {"mme_sdk.runtime.batch.batch", "mme_sdk.runtime.single_model.stream", "mme_sdk.runtime.payloads.tables"}
FOREIGN = {"numpy", "pandas", "aiohttp", "urllib3", "email", "importlib.metadata"}
ASYNC = {"asyncio", "mme_sdk.async_client", "mme_sdk.runtime.async_invoker"}
NEVER = CONTROL_PLANE | OPERATIONS | BATCHES | FOREIGN

CALL = """
import os
from mme_sdk import MMEClient, Timeouts
client = MMEClient(endpoint_url=os.environ["URL"])
reply = client.endpoint("ok").invoke({"amount": 12.5}, model="fraud/v3.tar.gz")
assert reply.body
assert client.transport.name == "fast"
"""
ASYNC_CALL = """
import asyncio, os
from mme_sdk import AsyncMMEClient
async def main():
    async with AsyncMMEClient(endpoint_url=os.environ["URL"]) as client:
        assert (await client.endpoint("ok").invoke({"amount": 12.5}, model="fraud/v3.tar.gz")).body
        assert client.transport.name == "fast"
asyncio.run(main())
"""
BOTOCORE_CALL = CALL.replace('URL"])', 'URL"], transport="botocore")').replace("fast", "botocore")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with LoopbackServer(BEHAVIOURS) as server:
        yield server.url


def modules(code: str, url: str, home: Path) -> set[str]:
    """Return the modules that a fresh interpreter imports for a program."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "URL": url,
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
    }
    # Import hooks of an editable installation are loaded in any case, and so do not count.
    code = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "most", "forbidden"),
    [
        ("import mme_sdk", 40, NEVER | ASYNC | {"attrs", "ssl", "socket"}),
        ("from mme_sdk import MMEClient", 100, NEVER | ASYNC | {"ssl", "socket", "concurrent.futures"}),
        ("from mme_sdk import MMEClient, EndpointSpec", 115, NEVER | ASYNC | {"ssl", "socket", "concurrent.futures"}),
        (
            "from mme_sdk import MMEClient\nMMEClient().endpoint('x')",
            115,
            NEVER | ASYNC | {"ssl", "concurrent.futures"},
        ),
        ("import mme_sdk.runtime, mme_sdk.endpoints, mme_sdk.registry, mme_sdk.types", 45, NEVER | ASYNC | {"attrs"}),
        (CALL, 200, NEVER | ASYNC),
        (ASYNC_CALL, 235, NEVER),
    ],
)
def test_an_entry_point_imports_only_what_it_needs(
    code: str, most: int, forbidden: set[str], url: str, tmp_path: Path
) -> None:
    found = modules(code, url, tmp_path)
    assert not forbidden & found
    assert len(found) <= most, sorted(found)


@pytest.mark.parametrize("name", sorted(NEVER | ASYNC))
def test_a_forbidden_name_is_a_module(name: str) -> None:
    assert find_spec(name) is not None


def test_the_transport_botocore_imports_botocore(url: str, tmp_path: Path) -> None:
    found = modules(BOTOCORE_CALL, url, tmp_path)
    assert {"boto3", "botocore"} <= found
    assert not {"pydantic", "tenacity", "mme_sdk.registry.store"} & found

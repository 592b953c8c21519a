"""A model is packed with isal, and an endpoint is invoked on uvloop."""

import io
import sys
from pathlib import Path

import uvloop
from server import address

from mme_sdk import AsyncMMEClient
from mme_sdk.artifacts import pack

Path("model").mkdir()
Path("model", "model.joblib").write_bytes(b"\0" * 100_000)
packed = io.BytesIO()
pack("model", packed)
assert "isal" in sys.modules
assert 0 < len(packed.getvalue()) < 10_000


async def main(url: str) -> None:
    """Invoke the endpoint."""
    async with AsyncMMEClient(region="eu-west-1", endpoint_url=url) as client:
        reply = await client.endpoint("lengths").invoke(b"three", model="a", content_type="text/plain")
        assert reply.json() == [5.0], reply


with address() as url:
    uvloop.run(main(url))

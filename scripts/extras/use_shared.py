"""A client is made whose state is in Redis; an invocation works although no Redis answers."""

from server import endpoint

from mme_sdk.runtime import Memory, Shared

with endpoint(memory=Memory(shared=Shared("redis://127.0.0.1:1"))) as lengths:
    assert lengths.invoke(b"one", model="a", content_type="text/plain").json() == [3.0]

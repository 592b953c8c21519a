"""An endpoint is invoked."""

from server import endpoint

with endpoint() as lengths:
    reply = lengths.invoke(b"one three", model="a", content_type="text/plain")
    assert reply.json() == [3.0, 5.0], reply

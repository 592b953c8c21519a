"""A batch shows a bar of tqdm."""

import contextlib
import io

from server import endpoint

written = io.StringIO()
with endpoint() as lengths, contextlib.redirect_stderr(written):
    for _ in lengths.invoke_many([("a", b"one"), ("a", b"three")], content_type="text/plain", progress=True):
        pass
assert "2/2" in written.getvalue(), written.getvalue()

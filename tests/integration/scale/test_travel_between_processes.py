"""A pickle that another process loads."""

from __future__ import annotations

import pickle
import subprocess
import sys

from mme_sdk import MMEClient


def test_a_handle_comes_alive_in_another_process() -> None:
    client = MMEClient(region="eu-west-3", endpoint_url={"*": "http://127.0.0.1:8"})
    data = pickle.dumps(client.endpoint("scoring"))
    code = (
        f"import pickle, sys; handle = pickle.loads({data!r}); assert 'boto3' not in sys.modules; "
        f"again = pickle.loads({data!r}); assert handle._context is again._context; print(handle.name)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "scoring\n"
    )

"""Programs that find their model at /opt/ml/model, as in a container of SageMaker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from mme_sdk.local.containers import Command, opt_ml
from mme_sdk.local.hosting_interface import HostingError
from tests.support.hosting.harness import BARE, Bench

Hosted = Callable[..., None]
SERVER = """
import http.server, os, pathlib, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def do_POST(self):
        found = pathlib.Path("/opt/ml/model/name").read_text()
        body = f"{found} {os.environ['SM_MODEL_DIR']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
COMMAND = Command([sys.executable, "-c", SERVER, "{port}"], opt_ml=True)
needs_mounts = pytest.mark.skipif(opt_ml.obstacle() is not None, reason=f"cannot mount here: {opt_ml.obstacle()}")


@needs_mounts
def test_a_server_that_reads_opt_ml_model_serves_its_own_model(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        for name in ("one", "two"):
            await bench.upload(f"{name}.tar.gz")
            where = f"s3://{bench.bucket}/{name}.tar.gz"
            await bench.deploy(name, image="fixed", mode="SingleModel", model_data_url=where)
        for name in ("one", "two"):
            answer = await bench.invoke(None, endpoint=name)
            assert (answer.status, answer.body) == (200, f"{name} /opt/ml/model".encode())
        assert not Path(opt_ml.MODEL, "name").exists()

    for isolated in (False, True):
        hosted(scenario, images={"fixed": attrs.evolve(COMMAND, isolated=isolated)})


@needs_mounts
def test_a_script_can_read_opt_ml_model(hosted: Hosted) -> None:
    script = "def model_fn(d): return open('/opt/ml/model/name').read()\ndef predict_fn(x, m): return m\n"

    async def scenario(bench: Bench) -> None:
        await bench.upload("a.tar.gz", script=script)
        await bench.deploy(mode="SingleModel", model_data_url=f"s3://{bench.bucket}/a.tar.gz")
        assert (await bench.invoke(None, "1", content_type="application/json")).body == b'"a"'

    hosted(scenario, images={"python": attrs.evolve(BARE, isolated=True, opt_ml=None)})


def test_where_the_kernel_refuses_the_mount_the_creation_fails_with_the_reason(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.upload("a.tar.gz")
        single = {"mode": "SingleModel", "model_data_url": f"s3://{bench.bucket}/a.tar.gz"}
        with pytest.raises(HostingError, match=r"at /opt/ml/model.*\(unshare: no\).*SM_MODEL_DIR"):
            await bench.deploy(image="fixed", **single)
        await bench.deploy(**single)
        assert (await bench.invoke(None, "row")).body == b"a:row"

    monkeypatch.setattr(opt_ml, "obstacle", lambda: "unshare: no")
    hosted(scenario, images={"fixed": COMMAND, "python": attrs.evolve(BARE, opt_ml=None)})


@needs_mounts
@pytest.mark.parametrize("user_namespace", [False, True])
def test_what_is_in_opt_stays_there(user_namespace: bool, tmp_path: Path) -> None:
    if os.geteuid() and not user_namespace:
        pytest.skip("only root mounts without a user namespace")
    (tmp_path / "weights").touch()
    code = (
        "import os; from mme_sdk.local.containers import opt_ml; "
        f"opt_ml.enter({str(tmp_path)!r}, user_namespace={user_namespace}); "
        "print(*os.listdir('/opt/ml/model'), *sorted(set(os.listdir('/opt')) - {'ml'}))"
    )
    before = sorted({one.name for one in Path("/opt").iterdir()} - {"ml"})
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == ["weights", *before]


@needs_mounts
def test_the_obstacle_names_what_the_kernel_refuses(tmp_path: Path) -> None:
    words = opt_ml.mounted(["true"], tmp_path / "absent")
    failed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr == f"mount on {opt_ml.MODEL}: No such file or directory\n"

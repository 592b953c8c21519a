"""A container that was given a key answers only who sends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers.harness import Container, running, script

KEY = {"X-Mme-Sdk-Key": "the-key"}
TELLS_ALL = (
    "import json, os, pathlib\n"
    "def model_fn(folder): return None\n"
    "def transform_fn(model, body, kind, accept, context):\n"
    "    headers = {name: str(value) for name, value in vars(context).items()}\n"
    "    parent = pathlib.Path('/proc/self/environ')\n"
    "    seen = [headers, dict(os.environ), parent.read_text() if parent.exists() else '']\n"
    "    return json.dumps(seen), 'application/json'\n"
)


@pytest.fixture(scope="module")
def keyed() -> Iterator[Container]:
    with running("--key-from-stdin", key="the-key") as container:
        while container.ask("GET", "/ping", headers=KEY)[0] != 200:
            assert container.process.poll() is None, container.process.communicate()
        yield container


@pytest.mark.parametrize("headers", [{}, {"X-Mme-Sdk-Key": ""}, {"X-Mme-Sdk-Key": "the-ke"}, {"X-Mme-Sdk-Key": "é"}])
def test_nothing_is_answered_without_the_key(keyed: Container, tmp_path: Path, headers: dict[str, str]) -> None:
    order = json.dumps({"model_name": "m", "url": str(script(tmp_path / "m", TELLS_ALL))}).encode()
    requests = [
        ("GET", "/ping", None),
        ("GET", "/models", None),
        ("POST", "/models", order),
        ("DELETE", "/models/m", None),
        ("POST", "/models/m/invoke", b"{}"),
        ("POST", "/invocations", b"{}"),
        ("OPTIONS", "/models", None),
        ("GET", "/nowhere", None),
    ]
    for method, path, body in requests:
        status, _, said = keyed.ask(method, path, body, {**headers, "Origin": "http://attacker.example"})
        assert (method, path, status) == (method, path, 403)
        assert not [name for name in said if name.startswith("access-control")]
    assert json.loads(keyed.ask("GET", "/models", headers=KEY)[1])["models"] == []


def test_a_model_does_not_see_the_key(keyed: Container, tmp_path: Path) -> None:
    order = json.dumps({"model_name": "m", "url": str(script(tmp_path / "m", TELLS_ALL))}).encode()
    assert keyed.ask("POST", "/models", order, KEY)[0] == 200
    status, body, _ = keyed.ask("POST", "/models/m/invoke", b"{}", {**KEY, "X-Amzn-Custom": "seen"})
    assert status == 200, body
    assert b"seen" in body
    assert b"the-key" not in body
    assert b"x-mme-sdk-key" not in body.lower()
    assert keyed.ask("DELETE", "/models/m", headers=KEY)[0] == 200

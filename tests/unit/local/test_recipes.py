"""Recipes for AWS's servers, as far as they can be checked without a process; slow tests run the servers."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.local.containers import mms_handler, multi_model_server, triton
from mme_sdk.local.containers.run_multi_model_server import properties
from mme_sdk.local.containers.run_triton import single_model
from mme_sdk.local.hosting.container import terminate

VALUES = {"socket": "/s", "port": "1", "directory": "/d", "model": "/m/model", "memory": "1"}


def _settings(name: str) -> str:
    package = importlib.util.find_spec("sagemaker_inference")
    if package is None or not package.submodule_search_locations:
        pytest.skip("sagemaker-inference is not installed")
    return Path(package.submodule_search_locations[0], "etc", name).read_text()


def _parsed(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("name", ["mme-mms.properties", "default-mms.properties"])
def test_the_configuration_has_the_settings_of_the_toolkit(name: str) -> None:
    settings = _settings(name)
    made = _parsed(properties(settings, Path("/s"), "/h.py:handle", {}))
    assert made["decode_input_request"] == "false"
    assert made["max_request_size"] == made["max_response_size"] == str(25 << 20)
    assert made["inference_address"] == made["management_address"] == "unix:/s"
    assert made["default_service_handler"] == "/h.py:handle"
    changed = {key for key, value in _parsed(settings).items() if made[key] != value}
    assert changed <= {"default_service_handler", "default_workers_per_model"}


def test_the_variables_of_the_toolkit_change_the_configuration() -> None:
    given = {
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "7",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "8",
        "SAGEMAKER_MODEL_SERVER_VMARGS": "-Xmx1g",
    }
    made = _parsed(properties("", Path("/s"), "h", given))
    assert made["max_request_size"] == str(100 << 20)
    assert made["default_workers_per_model"] == "3"
    assert made["default_response_timeout"] == "7"
    assert made["default_response_timeout_seconds"] == "8"
    assert made["vmargs"] == "-Xmx1g"


class _Request:
    """The context of Multi Model Server; the host sends header names in lower case."""

    def __init__(self, folder: Path, headers: dict[str, str]) -> None:
        self.system_properties = {"model_dir": str(folder)}
        self.request_processor = [self]
        self.headers = headers
        self.content_type: str | None = None
        self.status = 200

    def get_request_properties(self) -> dict[str, str]:
        return self.headers

    def set_response_content_type(self, _index: int, value: str) -> None:
        self.content_type = value

    def set_response_status(self, code: int, phrase: str) -> None:
        assert phrase
        self.status = code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model folder whose script is loaded by the handler of this process."""
    pytest.importorskip("sagemaker_inference")
    monkeypatch.setattr(mms_handler, "_SERVICES", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "inference", raising=False)
    monkeypatch.setenv("PYTHONPATH", "")  # the toolkit changes it
    (tmp_path / "code").mkdir()
    yield tmp_path
    sys.modules.pop("inference", None)


@pytest.mark.parametrize("spelling", [str.lower, str.title])
def test_the_handler_gives_scripts_str_and_headers_in_either_case(folder: Path, spelling: Any) -> None:
    (folder / "code" / "inference.py").write_text(
        "import json\ndef model_fn(d): return 'm'\n"
        "def transform_fn(m, body, kind, accept): return json.dumps([type(body).__name__, body, kind, accept])\n"
    )
    context = _Request(folder, {spelling("content-type"): "application/json", spelling("accept"): "*/*"})
    assert mms_handler.handle(None, context) is None
    answer = mms_handler.handle([{"body": bytearray(b"[1,2,3]")}], context)
    assert answer == ['["str", "[1,2,3]", "application/json", "application/json"]']
    assert (context.status, context.content_type) == (200, "application/json")


def test_the_handler_reports_a_failed_load_and_a_failed_request(folder: Path) -> None:
    script = folder / "code" / "inference.py"
    script.write_text("def model_fn(d): raise MemoryError('too large')\n")
    with pytest.raises(MemoryError):  # Multi Model Server answers it 507
        mms_handler.handle(None, _Request(folder, {}))
    sys.modules.pop("inference", None)
    script.write_text("def model_fn(d): return 1\ndef transform_fn(m, b, c, a): raise ValueError('bad row')\n# \n")
    context = _Request(folder, {})
    mms_handler.handle(None, context)
    answer = mms_handler.handle([{"body": bytearray(b"x")}], context)
    assert answer is not None
    assert answer[0].startswith("bad row")
    assert context.status == 500


def test_a_handler_service_is_a_file_or_a_module(tmp_path: Path) -> None:
    file = tmp_path / "service.py"
    file.touch()
    for handler, words in (
        (file, ["--handler", str(file)]),
        (f"{file}:handle", ["--handler", str(file), "--function", "handle"]),
        ("package.service:handle", ["--handler", "package.service", "--function", "handle"]),
    ):
        command = multi_model_server(handler=handler)
        for single in (False, True):
            assert " ".join(words) in " ".join(command.words(single=single, values=VALUES))
    for wrong in (tmp_path / "absent.py", "no/such:handle", "not a module", f"{file}:", f"{file}:a-b", ""):
        with pytest.raises(InvalidInputError, match="handler"):
            multi_model_server(handler=wrong)


@pytest.mark.parametrize("command", [multi_model_server(), triton()])
def test_recipes_serve_single_models(command: Any) -> None:
    assert "--model /m/model" in " ".join(command.words(single=True, values=VALUES))
    assert "--model" not in command.words(single=False, values=VALUES)


def test_the_single_model_of_triton(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no model folder"):
        single_model(tmp_path, None)
    (tmp_path / "one").mkdir()
    assert single_model(tmp_path, None) == "one"
    with pytest.raises(SystemExit, match="no folder of that name"):
        single_model(tmp_path, "two")
    (tmp_path / "two").mkdir()
    assert single_model(tmp_path, "two") == "two"
    with pytest.raises(SystemExit, match=r"one, two.*DEFAULT_MODEL_NAME"):
        single_model(tmp_path, None)
    (tmp_path / "config.pbtxt").touch()
    with pytest.raises(SystemExit, match="at the top of the archive"):
        single_model(tmp_path, "two")


class _Process:
    """A process that ends when it gets one of the named signals."""

    def __init__(self, ends_at: str) -> None:
        self.signals: list[str] = []
        self.stdin = None
        self.returncode: int | None = None
        self._ends_at = ends_at
        self._ended = asyncio.Event()

    def _signal(self, name: str) -> None:
        self.signals.append(name)
        if name == self._ends_at:
            self.returncode = 0
            self._ended.set()

    def terminate(self) -> None:
        self._signal("SIGTERM")

    def kill(self) -> None:
        self._signal("SIGKILL")

    async def wait(self) -> int:
        await self._ended.wait()
        return 0


@pytest.mark.parametrize(
    ("ends_at", "over", "signals"),
    [("SIGTERM", False, ["SIGTERM"]), ("SIGKILL", True, ["SIGTERM", "SIGKILL"])],
)
def test_a_container_gets_sigterm_and_after_the_grace_sigkill(ends_at: str, over: bool, signals: list[str]) -> None:
    async def stop() -> list[str]:
        process: Any = _Process(ends_at)
        grace = asyncio.Event()
        if over:
            asyncio.get_running_loop().call_soon(grace.set)
        await terminate(process, _wait(grace))
        return list(process.signals)

    async def _wait(event: asyncio.Event) -> None:
        await event.wait()

    assert asyncio.run(stop()) == signals

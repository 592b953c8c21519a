"""The multi-model contract, one process a model: crashes, leaks and loops stay where they are."""

from __future__ import annotations

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.containers.harness import Container, running, script
from tests.support.processes import wait_until_gone

ECHO = """
import os
def model_fn(model_dir):
    return os.path.basename(model_dir)
def input_fn(data, content_type):
    return str(data, 'utf-8') if isinstance(data, bytes) else data
def predict_fn(data, model):
    if data == "crash":
        os.kill(os.getpid(), 11)
    if data == "exit":
        raise SystemExit(3)
    while data == "loop":
        pass
    if data == "memory":
        bytearray(8 << 30)
    if data == "pid":
        return str(os.getpid())
    return f"{model}:{data}"
def output_fn(prediction, accept):
    return prediction, "text/plain"
"""


def test_the_contract_of_a_multi_model_container(container: Container, tmp_path: Path) -> None:
    directory = script(tmp_path / "echo", ECHO)
    assert container.ask("GET", "/ping")[0] == 200
    assert container.load("c1", directory)[0] == 200
    status, said = container.load("c1", directory)
    assert (status, said["code"]) == (409, 409)
    listed = json.loads(container.ask("GET", "/models")[1])["models"]
    assert {"modelName": "c1", "modelUrl": str(directory)} in listed
    assert json.loads(container.ask("GET", "/models/c1")[1]) == {"modelName": "c1", "modelUrl": str(directory)}
    status, body, headers = container.invoke("c1", b"hello", "text/x-anything")
    assert (status, body, headers["content-type"]) == (200, b"echo:hello", "text/plain")
    assert container.ask("DELETE", "/models/c1")[0] == 200
    for call in [("DELETE", "/models/c1"), ("GET", "/models/c1"), ("POST", "/models/c1/invoke")]:
        assert container.ask(*call)[0] == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model_name": "x"}', b'{"model_name": 1, "url": "/"}', b'"x"'])
def test_a_malformed_load_is_refused_and_the_container_goes_on(container: Container, body: bytes) -> None:
    assert container.ask("POST", "/models", body)[0] == 400
    assert container.ask("GET", "/ping")[0] == 200


def test_pages_of_models(container: Container, tmp_path: Path) -> None:
    directory = script(tmp_path / "echo", ECHO)
    names = {f"page-{number}" for number in range(5)}
    for name in names:
        assert container.load(name, directory)[0] == 200
    seen: list[str] = []
    query = "limit=2"
    while True:
        page = json.loads(container.ask("GET", f"/models?{query}")[1])
        seen += [one["modelName"] for one in page["models"]]
        if "nextPageToken" not in page:
            break
        query = f"limit=2&next_page_token={page['nextPageToken']}"
    assert names <= set(seen)
    assert len(seen) == len(set(seen))
    for wrong in ("next_page_token=x", "next_page_token=-1", "limit=0", "limit=-1", "limit=x"):
        assert container.ask("GET", f"/models?{wrong}")[0] == 400
    for name in names:
        container.ask("DELETE", f"/models/{name}")


@pytest.mark.parametrize(
    ("poison", "text"),
    [(b"crash", "signal 11"), (b"loop", "timed out after 1.5 s"), (b"exit", "exit status 3")],
)
def test_a_model_that_dies_takes_nobody_along_and_comes_back(
    container: Container, tmp_path: Path, poison: bytes, text: str
) -> None:
    directory = script(tmp_path / "echo", ECHO)
    for name in ("ill", "well"):
        container.load(name, directory)
    before = container.invoke("well", b"pid")[1]
    first = container.invoke("ill", b"pid")[1]
    status, body, _ = container.invoke("ill", poison)
    assert status == 500
    assert text in json.loads(body)["message"]
    status, after, _ = container.invoke("ill", b"pid")
    assert status == 200
    assert after != first
    assert container.invoke("well", b"pid")[1] == before
    for name in ("ill", "well"):
        assert container.ask("DELETE", f"/models/{name}")[0] == 200


SLOW_TO_END = """
import os, sys, time
class Log:
    def write(self, text):
        return len(text)
    def flush(self):
        time.sleep(0.3)
def predict_fn(data, model):
    sys.stdout = Log()  # flushed last of all
    raise SystemExit(3)
"""
HANGS_UP_FIRST = """
import os, time
def predict_fn(data, model):
    os.closerange(3, 256)
    time.sleep(0.1)
    os._exit(3)
"""


@pytest.mark.parametrize("source", [SLOW_TO_END, HANGS_UP_FIRST])
def test_a_model_that_ends_slowly_is_reported_with_its_own_exit_status(
    container: Container, tmp_path: Path, source: str
) -> None:
    source += "def model_fn(model_dir):\n    return None\n"
    container.load("slow", script(tmp_path / "slow", source))
    status, body, _ = container.invoke("slow", [1])
    assert status == 500
    assert json.loads(body)["message"] == "The model process ended (exit status 3)."
    assert container.ask("DELETE", "/models/slow")[0] == 200


def test_a_model_that_hangs_up_and_lives_on_is_ended(container: Container, tmp_path: Path) -> None:
    source = """
import os, signal
def model_fn(model_dir):
    return None
def predict_fn(data, model):
    os.closerange(3, 256)
    signal.pause()
"""
    container.load("deaf", script(tmp_path / "deaf", source))
    status, body, _ = container.invoke("deaf", [1])
    assert status == 500
    assert json.loads(body)["message"] == "The model process ended (it closed its connection and was killed)."
    assert container.ask("DELETE", "/models/deaf")[0] == 200


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits of a process need Linux")
def test_memory_beyond_the_budget_is_507_at_load_and_at_invocation(container: Container, tmp_path: Path) -> None:
    big = script(tmp_path / "big", "def model_fn(d):\n    return bytearray(1 << 30)")
    status, said = container.load("big", big)
    assert status == 507, said
    assert "big" not in container.models()
    container.load("grows", script(tmp_path / "grows", ECHO))
    assert container.invoke("grows", b"memory")[0] == 507
    assert container.invoke("grows", b"still here")[:2] == (200, b"grows:still here")
    container.ask("DELETE", "/models/grows")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_unloading_ends_the_process_and_frees_what_the_budget_counted(container: Container, tmp_path: Path) -> None:
    # Each takes more than half of the budget: the second only fits after the first is really gone.
    source = """
import os
def model_fn(d):
    return bytearray(b"x") * (120 << 20)
def predict_fn(data, model):
    return os.getpid()
"""
    directory = script(tmp_path / "half", source)
    status, said = container.load("first", directory)
    assert status == 200
    assert said["memory"] > 120 << 20
    assert container.load("second", directory)[0] == 507
    pid = int(container.invoke("first", [1])[1])
    assert container.ask("DELETE", "/models/first")[0] == 200
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert container.load("second", directory)[0] == 200
    assert container.ask("DELETE", "/models/second")[0] == 200


def test_a_failed_load_leaves_nothing_and_tells_the_reason(container: Container, tmp_path: Path) -> None:
    broken = script(tmp_path / "broken", "def model_fn(d):\n    raise RuntimeError('no weights in ' + d)")
    status, said = container.load("broken", broken)
    assert status == 500
    assert said["message"] == f"RuntimeError: no weights in {broken}"
    dies = script(tmp_path / "dies", "import os\nos.kill(os.getpid(), 9)")
    status, said = container.load("dies", dies)
    assert status == 500
    assert "signal 9" in said["message"]
    assert not {"broken", "dies"} & set(container.models())


def test_functions_may_take_a_context_and_set_headers(container: Container, tmp_path: Path) -> None:
    source = """
def model_fn(model_dir, context):
    return context.system_properties["model_dir"]
def transform_fn(model, data, content_type, accept, context):
    sent = context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes")
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", sent.upper())
    context.set_response_content_type(0, "application/x-replaced")
    return data, "application/x-own"
"""
    directory = script(tmp_path / "context", source)
    container.load("context", directory)
    status, body, headers = container.invoke("context", b"raw", X_Amzn_SageMaker_Custom_Attributes="trace=1")
    assert (status, body) == (200, b"raw")
    assert headers["x-amzn-sagemaker-custom-attributes"] == "TRACE=1"
    assert headers["content-type"] == "application/x-own"
    container.ask("DELETE", "/models/context")


def test_models_are_asked_in_parallel_and_each_in_order(container: Container, tmp_path: Path) -> None:
    directory = script(tmp_path / "echo", ECHO)
    for name in ("left", "right"):
        container.load(name, directory)
    asked = [(name, f"{name}{number}".encode()) for number in range(30) for name in ("left", "right")]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: container.invoke(*one)[:2], asked))
    assert answers == [(200, b"echo:" + body) for _, body in asked]
    for name in ("left", "right"):
        container.ask("DELETE", f"/models/{name}")


def test_one_model_under_invocations_with_streaming(tmp_path: Path) -> None:
    source = """
def predict_fn(data, model):
    yield "one,"
    yield b"two"
    if data.sum() < 0:
        raise RuntimeError("in the middle")
def model_fn(model_dir):
    return None
"""
    with running("--model", str(script(tmp_path / "single", source)), "--preload", "") as single:
        single.healthy()
        status, body, headers = single.ask("POST", "/invocations", b"[1]", {"Accept": "text/event-stream"})
        assert (status, body) == (200, b"one,two")
        assert headers["transfer-encoding"] == "chunked"
        assert headers["content-type"] == "text/event-stream"
        with pytest.raises(OSError):
            raise_incomplete(single)
        assert single.ask("GET", "/models")[0] == 404
        assert single.ask("POST", "/invocations", b"[1]")[1] == b"one,two"


def raise_incomplete(single: Container) -> None:
    import http.client

    try:
        single.ask("POST", "/invocations", b"[-1]")
    except http.client.IncompleteRead as error:
        raise OSError("broken off") from error


def test_a_single_model_that_does_not_load_ends_the_container(tmp_path: Path) -> None:
    container = Container("--model", str(script(tmp_path / "bad", "1/0")), "--preload", "")
    _, errors = container.process.communicate(timeout=120)
    assert container.process.returncode == 1
    assert "cannot load the model: ZeroDivisionError" in errors


@pytest.mark.parametrize("how", ["SIGTERM", "end of stdin", "lost fork server", "SIGKILL"])
def test_nothing_survives_the_container(tmp_path: Path, how: str) -> None:
    container = Container("--preload", "")
    container.load("echo", script(tmp_path / "echo", ECHO))
    worker = int(container.invoke("echo", b"pid")[1])
    if sys.platform == "linux":
        fork_server = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
        assert fork_server != container.process.pid
    elif how == "lost fork server":
        pytest.skip("reads /proc")
    if how == "SIGTERM":
        container.process.terminate()
    elif how == "SIGKILL":
        container.process.kill()
    elif how == "lost fork server":
        os.kill(fork_server, signal.SIGKILL)
        container.process.wait(120)
    container.process.communicate(timeout=120)  # closes stdin
    assert container.process.returncode == {"lost fork server": 1, "SIGKILL": -9}.get(how, 0)
    wait_until_gone([worker])


ANSWER = (
    "def model_fn(d): return {0!r}\ndef input_fn(body, kind): return body\ndef predict_fn(data, model): return model\n"
)


@pytest.mark.parametrize(
    ("env", "answer"),
    [
        ({}, "inference"),
        ({"SAGEMAKER_PROGRAM": "serve.py"}, "serve"),
        ({"SAGEMAKER_PROGRAM": "serve"}, "serve"),
        ({"SAGEMAKER_PROGRAM": "nested/deep.py"}, "deep"),
        ({"SAGEMAKER_PROGRAM": "top.py"}, "top"),
        ({"SAGEMAKER_PROGRAM": "serve.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}, "serve"),
        ({"SAGEMAKER_PROGRAM": "serve.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/other"}, "other"),
        ({"SAGEMAKER_PROGRAM": "top.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model"}, "top"),
        ({"SAGEMAKER_PROGRAM": "serve.py", "SAGEMAKER_SUBMIT_DIRECTORY": "file:///opt/ml/model/other"}, "other"),
        ({"SAGEMAKER_PROGRAM": "deep.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code/nested/"}, "deep"),
        (
            {"SAGEMAKER_SUBMIT_DIRECTORY": "https://b/c"},
            "SAGEMAKER_SUBMIT_DIRECTORY=https://b/c: the directory does not exist",
        ),
        ({"SAGEMAKER_PROGRAM": "nowhere.py"}, "SAGEMAKER_PROGRAM=nowhere.py: the file does not exist"),
        (
            {"SAGEMAKER_SUBMIT_DIRECTORY": "/no/such"},
            "SAGEMAKER_SUBMIT_DIRECTORY=/no/such: the directory does not exist",
        ),
        ({"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/no"}, "SAGEMAKER_SUBMIT_DIRECTORY=/opt/ml/model/no"),
    ],
)
def test_the_environment_names_the_script_or_the_load_fails_by_name(
    tmp_path: Path, env: dict[str, str], answer: str
) -> None:
    model = script(tmp_path / "model", ANSWER.format("inference"), **{"top.py": ANSWER.format("top")})
    for place, name in {"code/serve.py": "serve", "code/nested/deep.py": "deep", "other/serve.py": "other"}.items():
        (model / place).parent.mkdir(parents=True, exist_ok=True)
        (model / place).write_text(ANSWER.format(name))
    with running("--preload", "", env={**os.environ, **env}) as container:
        status, said = container.healthy().load("m", model)
        if "=" in answer:
            assert status == 500
            assert answer in said["message"]
            assert container.models() == []
        else:
            assert status == 200, said
            assert json.loads(container.invoke("m", [1])[1]) == answer

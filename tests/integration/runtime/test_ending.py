"""Ctrl-C and other early ends: at once, with what is done kept, and nothing left. Real processes, real signals.

A model's load is blocked by a gate. A process that ended before the gate is open did not wait for the load.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mme_sdk import EndpointSpec
from mme_sdk.local import HostingSettings, LocalSageMaker
from tests.support.gates import PASS_GATE, Gate
from tests.support.paths import SUPPORT
from tests.support.processes import signal_asleep
from tests.support.runtime.world import IMAGE, ROLE
from tests.support.selection import pairs

PROGRAM = SUPPORT / "runtime" / "ending.py"
HANGS = 300.0  # seconds; only what waits for something that never comes takes that long
CODE = (
    PASS_GATE
    + """
import json, os

def model_fn(directory):
    facts = json.load(open(os.path.join(directory, "facts.json")))
    if facts["gate"]:
        pass_gate(facts["gate"])
    return facts

def input_fn(body, content_type):
    return 1

def predict_fn(data, model):
    return [data]
"""
)


class Gated:
    """A host with models whose loads are blocked by gates."""

    def __init__(self, host: LocalSageMaker, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.client = host.client()
        s3 = host.boto("s3")
        s3.create_bucket(Bucket="gated")
        s3.close()
        self.models = self.client.models("s3://gated/models/")
        self.quick = self.make("quick", None)
        spec = EndpointSpec.multi_model(
            name="gated", models=self.models.uri, image=IMAGE, role=ROLE, instance_type="ml.m5.large"
        )
        self.client.endpoints.create(spec).wait(timeout=HANGS)

    def make(self, name: str, gate: Gate | None) -> str:
        source = self.folder / name
        (source / "code").mkdir(parents=True)
        (source / "code" / "inference.py").write_text(CODE)
        facts = {"name": name, "gate": str(gate or "")}
        (source / "facts.json").write_text(json.dumps(facts))
        return self.models.register(name, source, version="v1").target_model


class Process:
    """A program under test and what it says."""

    def __init__(
        self,
        config: dict[str, Any],
        *flags: str,
        script: str | None = None,
        program: Path = PROGRAM,
    ) -> None:
        code = ["-c", script] if script is not None else [str(program)]
        self.said: list[dict[str, Any]] = []
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", *flags, *code, json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors = ""
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(json.loads(line))
        self._queue.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until it says something."""
        for one in self.said:
            if wanted(one):
                return one
        while True:
            try:
                one = self._queue.get(timeout=HANGS)
            except queue.Empty:
                self.process.send_signal(signal.SIGABRT)  # faulthandler tells where it hangs
                self.process.wait()
                self._readers[1].join(HANGS)
                raise AssertionError(f"it hangs: {self.said[-3:]} {self.errors[-6000:]}") from None
            assert one is not None, f"it ended: {self.said[-3:]} {self.errors[-3000:]}"
            self.said.append(one)
            if wanted(one):
                return one

    def result(self) -> dict[str, Any]:
        """What it reports at its end."""
        report = self.until(lambda one: one["kind"] == "ended")
        assert self.process.wait(HANGS) is not None
        return report

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(HANGS)
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    # The gates are outside of the folders of the models.
    with LocalSageMaker(settings=HostingSettings(isolate=False)) as host:
        made = Gated(host, tmp_path_factory.mktemp("gated"))
        yield made
        made.client.close()


class Case:
    """One blocked model and one process that waits for it."""

    def __init__(
        self, gated: Gated, folder: Path, config: dict[str, Any], *flags: str, script: str | None = None
    ) -> None:
        self.gated = gated
        self.name = f"slow-{uuid.uuid4().hex[:8]}"
        self.gate = Gate(folder / "gate")
        self.quick, self.slow = gated.quick, gated.make(self.name, self.gate)
        keys = gated.host.session().get_credentials()
        base = {
            "secret": keys.secret_key,
            "key": keys.access_key,
            "urls": gated.host.endpoint_urls,
            "endpoint": "gated",
            "quick": self.quick,
            "slow": self.slow,
            "leases": str(folder / "leases.db"),
        }
        self.process = Process(base | config, *flags, script=script)

    def until_blocked(self) -> None:
        """Wait until the model's load has begun."""
        self.gate.arrived()

    def signal(self, number: signal.Signals = signal.SIGINT) -> None:
        signal_asleep(self.process.process, number)

    def __enter__(self) -> Case:
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.open()
        self.process.close()


NOTHING = {"threads": [], "sockets": 0, "permits": 0, "flights": 0, "leases": 0}


def check_nothing_left(case: Case, report: dict[str, Any]) -> None:
    assert case.gate.path.exists()  # the load is still blocked
    assert {name: report[name] for name in NOTHING} == NOTHING
    assert case.process.errors == ""
    assert case.process.process.returncode == 0


@pytest.mark.parametrize(("transport", "read"), pairs(["fast", "core", "botocore"], [60.0, 0.3]))  # in flight, waiting
def test_ctrl_c_ends_invoke_many_at_once(gated: Gated, tmp_path: Path, transport: str, read: float) -> None:
    checkpoint = tmp_path / "done.txt"
    config = {"verb": "invoke_many", "transport": transport, "read": read, "checkpoint": str(checkpoint)}
    with Case(gated, tmp_path, config) as case:
        case.until_blocked()
        case.process.until(lambda one: one.get("index") == 2)
        if read < 1:
            case.process.until(lambda one: one.get("name") == "ColdStartSeen")
        case.signal()
        report = case.process.result()
        check_nothing_left(case, report)
    assert (report["by"], report["done"]) == ("KeyboardInterrupt", [0, 1, 2])
    assert not report["partial"]
    # Whether the third one was dealt with depends on where the signal came.
    assert checkpoint.read_text() in ("0\n1\n2\n", "0\n1\n")


def test_the_exception_carries_what_was_complete_and_not_handed_out(gated: Gated, tmp_path: Path) -> None:
    with Case(gated, tmp_path, {"verb": "invoke_many", "slow_first": True}) as case:
        case.until_blocked()
        for number in range(3):
            case.process.until(
                lambda one, number=number: (
                    one.get("name") == "CallCompleted"
                    and sum(each.get("name") == "CallCompleted" for each in case.process.said) > number
                )
            )
        case.signal()
        report = case.process.result()
        check_nothing_left(case, report)
    # Results come in the order of the items, and the first item waits: the others are complete.
    assert (report["done"], report["partial"]) == ([], [3, 4, 5])


@pytest.mark.parametrize("verb", ["warm", "invoke_frame"])
def test_ctrl_c_keeps_what_warm_and_invoke_frame_have_done(gated: Gated, tmp_path: Path, verb: str) -> None:
    wanted = 1 if verb == "warm" else 3
    with Case(gated, tmp_path, {"verb": verb}) as case:
        case.until_blocked()
        for number in range(wanted):
            case.process.until(
                lambda one, number=number: (
                    one.get("name") == "CallCompleted"
                    and sum(each.get("name") == "CallCompleted" for each in case.process.said) > number
                )
            )
        case.signal()
        report = case.process.result()
        check_nothing_left(case, report)
    assert report["by"] == "KeyboardInterrupt"
    if verb == "warm":
        assert report["partial"] == {"loaded": [case.quick], "failed": [case.slow]}
    else:
        assert report["partial"] == {"index": list("abcdef"), "failed": [False] * 3 + [True] * 3}


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("invoke", {}),
        ("invoke", {"read": 0.3}),
        ("invoke", {"transport": "botocore"}),
    ],
    ids=["in flight", "waiting", "botocore"],
)
def test_ctrl_c_ends_a_single_call_that_waits_for_a_load(
    gated: Gated, tmp_path: Path, verb: str, options: dict[str, Any]
) -> None:
    with Case(gated, tmp_path, {"verb": verb} | options) as case:
        case.until_blocked()
        if "read" in options:
            case.process.until(lambda one: one.get("name") == "ColdStartSeen")
        case.signal()
        report = case.process.result()
        check_nothing_left(case, report)
    assert report["by"] == "KeyboardInterrupt"


@pytest.mark.parametrize(("consumer", "by"), [("break", "NoneType"), ("raises", "ConsumerError")])
def test_a_consumer_that_stops_taking_results_ends_the_batch(
    gated: Gated, tmp_path: Path, consumer: str, by: str
) -> None:
    checkpoint = tmp_path / "done.txt"
    config = {"verb": "invoke_many", "consumer": consumer, "checkpoint": str(checkpoint)}
    with Case(gated, tmp_path, config) as case:
        report = case.process.result()
        check_nothing_left(case, report)
    assert (report["by"], report["done"]) == (by, [0, 1, 2])
    assert checkpoint.read_text() == "0\n1\n"  # the third one was being dealt with: it comes again


def test_sigterm_made_an_exit_ends_the_batch(gated: Gated, tmp_path: Path) -> None:
    with Case(gated, tmp_path, {"verb": "invoke_many"}) as case:
        case.until_blocked()
        case.signal(signal.SIGTERM)
        report = case.process.result()
        check_nothing_left(case, report)
    assert report["by"] == "SystemExit"


def test_a_second_ctrl_c_does_not_wait_for_a_caller_s_own_code(gated: Gated, tmp_path: Path) -> None:
    with Case(gated, tmp_path, {"verb": "stuck"}) as case:
        case.process.until(lambda one: one["kind"] == "stuck")
        case.signal()
        case.signal()
        report = case.process.result()
    assert report["by"] == "KeyboardInterrupt"
    assert report["threads"] == ["mme_sdk-batch-0"]  # nobody can end the caller's own code; it does not hold the exit
    assert case.process.process.returncode == 0


@pytest.mark.parametrize(("verb", "transport"), pairs(["invoke", "invoke_many", "warm"], ["core", "botocore"]))
def test_cancelling_the_task_ends_the_awaited_verbs(gated: Gated, tmp_path: Path, transport: str, verb: str) -> None:
    with Case(gated, tmp_path, {"verb": verb, "transport": transport, "async": True}) as case:
        case.until_blocked()
        assert case.process.process.stdin is not None
        case.process.process.stdin.write("\n")
        case.process.process.stdin.flush()
        report = case.process.result()
        check_nothing_left(case, report)
    assert report["by"] == "CancelledError"
    assert not report["busy"]

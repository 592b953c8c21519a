"""`Aws` against a local server that returns prepared responses and counts requests."""

import asyncio
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest

from mme_sdk import RetryPolicy, errors
from mme_sdk.aws import Aws, Call

LIST = Call(service="sagemaker", operation="list_endpoints")


class Script(ThreadingHTTPServer):
    """Returns prepared responses (status, error code, headers) in order, then empty lists of endpoints."""

    daemon_threads = True

    def __init__(self):
        self.answers, self.requests = [], 0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.requests += 1
        self.rfile.read(int(self.headers["content-length"]))
        status, code, headers = self.server.answers.pop(0) if self.server.answers else (200, None, {})
        body = json.dumps({"Endpoints": []} if code is None else {"__type": code, "message": code}).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Clock:
    def __init__(self):
        self.slept = []

    monotonic = time = staticmethod(lambda: 0.0)

    def sleep(self, seconds):
        self.slept.append(seconds)


class AsyncClock(Clock):
    async def sleep(self, seconds):
        self.slept.append(seconds)


@pytest.fixture
def server():
    script = Script()
    thread = threading.Thread(target=script.serve_forever, args=(0.01,))
    thread.start()
    yield script
    script.shutdown()
    thread.join()
    script.server_close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(server, clock):
    made = []

    def factory(**settings):
        session = boto3.Session("key", "secret", region_name="eu-west-1")
        made.append(
            Aws(
                **{"session": session, "endpoint_url": server.url, "clock": clock, "async_clock": AsyncClock()}
                | settings
            )
        )
        return made[-1]

    yield factory
    for aws in made:
        aws.close()


def test_one_call_is_one_request_since_botocore_may_not_retry(make, server, clock):
    server.answers = [(500, "InternalFailure", {})] * 9
    with pytest.raises(errors.ServiceError):
        make(retry=RetryPolicy(fault_attempts=1)).call(LIST)
    assert (server.requests, clock.slept) == (1, [])


@pytest.mark.parametrize("failure", [(500, "InternalFailure", {}), (400, "ThrottlingException", {})])
def test_throttling_and_faults_are_tried_again(make, server, clock, failure):
    server.answers = [failure] * 3
    assert make().call(LIST)["Endpoints"] == []
    assert (server.requests, len(clock.slept)) == (4, 3)


def test_the_async_twin_does_the_same(make, server):
    aws = make()
    server.answers = [(500, "InternalFailure", {})] * 3
    assert asyncio.run(aws.acall(LIST))["Endpoints"] == []
    assert (server.requests, len(aws.async_clock.slept)) == (4, 3)


def test_the_retries_end(make, server):
    server.answers = [(500, "InternalFailure", {})] * 9
    with pytest.raises(errors.ServiceError):
        make(retry=RetryPolicy(fault_attempts=3)).call(LIST)
    assert server.requests == 3


def test_what_is_the_callers_fault_is_not_tried_again(make, server):
    server.answers = [(400, "ValidationException", {})]
    with pytest.raises(errors.InvalidInputError) as caught:
        make().call(LIST)
    assert (server.requests, caught.value.sent) == (1, True)


def test_the_wait_that_the_service_asks_for_is_honoured(make, server, clock):
    server.answers = [(503, "ServiceUnavailable", {"retry-after": "7"})]
    make().call(LIST)
    assert clock.slept == [7.0]


def test_jitter_is_full_and_doubles_up_to_its_cap(make, server, clock):
    class Top:
        random = staticmethod(lambda: 1.0)
        uniform = staticmethod(lambda low, high: high)

    server.answers = [(400, "ThrottlingException", {})] * 6
    make(rng=Top(), retry=RetryPolicy(fault_attempts=7)).call(LIST)
    assert clock.slept == [1, 2, 4, 8, 16, 20]


def test_nobody_listening_means_not_sent(make):
    with pytest.raises(errors.NotSentError) as caught:
        make(endpoint_url="http://127.0.0.1:9", retry=RetryPolicy(fault_attempts=1)).call(LIST)
    assert caught.value.sent is False


def test_addresses_may_be_given_per_service(make, server):
    aws = make(endpoint_url={"s3": "http://127.0.0.1:9", "*": server.url})
    assert aws.client("s3").meta.endpoint_url == "http://127.0.0.1:9"
    assert aws.client("sagemaker").meta.endpoint_url == server.url


def test_clients_are_made_once_however_many_threads_ask(make):
    aws, found = make(), []
    threads = [threading.Thread(target=lambda: found.append(aws.client("sagemaker"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_without_a_region_the_message_says_what_to_do(monkeypatch, tmp_path):
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(errors.ConfigurationError, match="AWS_DEFAULT_REGION"):
        Aws().client("sagemaker")


def test_after_close_nothing_is_sent(make, server):
    aws = make()
    aws.call(LIST)
    aws.close()
    aws.close()
    with pytest.raises(errors.ClosedError):
        aws.call(LIST)
    assert server.requests == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_makes_its_own_connections(make, server):
    aws = make()
    aws.call(LIST)
    parent = id(aws.client("sagemaker"))
    pid = os.fork()
    if pid == 0:
        os._exit(0 if aws.call(LIST)["Endpoints"] == [] and id(aws.client("sagemaker")) != parent else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert id(aws.client("sagemaker")) == parent

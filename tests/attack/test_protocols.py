"""Protocol fuzzing of the host, with seeds: no request gets 500, and the host answers the next one.

Each test prints what it tried; `docs/security.md` has the figures.
"""

from __future__ import annotations

from collections import Counter

import cbor2
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from local_control.fakes import FakeHosting
from local_control.hostile import (
    JUNK,
    SERVICES,
    broken,
    call,
    claimed,
    encoded,
    expect_no_crash,
    expect_sense,
    no_errors_logged,
    request_of,
)
from local_control.raw import TARGETS, alive, ask, signed

from mme_sdk.local import ControlSettings, LocalSageMaker, cbor

pytestmark = pytest.mark.slow

SEEDS = (1, 2, 3)


def long(examples: int) -> settings:
    return settings(
        max_examples=examples, derandomize=False, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture(scope="module")
def victim():
    control = ControlSettings(provisioning=0.0, scaling=0.0, deletion=0.0, wait_scale=0.001, minute=0.1)
    with LocalSageMaker(control=control, hosting=FakeHosting) as host:
        yield host


@pytest.fixture(scope="module")
def operations(victim):
    return claimed(victim)


@pytest.mark.parametrize("number", SEEDS)
def test_well_formed_requests(victim, operations, number):
    tried: Counter[tuple[str, int]] = Counter()

    @seed(number)
    @long(2000)
    @given(data=st.data())
    def run(data):
        made = data.draw(call(operations))
        tried[made[1], expect_sense(victim, request_of(victim, made))] += 1

    run()
    statuses = Counter[int]()
    for (_, status), count in tried.items():
        statuses[status] += count
    print(
        f"seed {number}: {sum(tried.values())} requests, {dict(statuses)}, {len({one for one, _ in tried})} operations"
    )
    never = {one for one, _ in tried} - {one for one, status in tried if status == 200}
    print(f"never accepted: {sorted(never)}")
    assert statuses[200] > 100


@pytest.mark.parametrize("number", SEEDS)
def test_broken_bytes(victim, number):
    tried = 0

    @seed(number)
    @long(2000)
    @given(data=st.data())
    def run(data):
        nonlocal tried
        requests = [
            signed(victim, b"{}", target="ListModels"),
            signed(victim, b"x", path="/endpoints/a/invocations", X_Amzn_SageMaker_Target_Model="m"),
            signed(victim, b"x", path="/endpoints/a/async-invocations", X_Amz_Content_SHA256="UNSIGNED-PAYLOAD"),
            signed(victim, b'{"kind": "slow_load"}', path="/_mme/faults", Content_Type="application/json"),
            b"GET /_mme/status HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            signed(
                victim, b"Action=GetCallerIdentity", service="sts", Content_Type="application/x-www-form-urlencoded"
            ),
        ]
        expect_no_crash(victim, data.draw(broken(data.draw(st.sampled_from(requests)))))
        tried += 1

    run()
    print(f"seed {number}: {tried} requests")


@pytest.mark.parametrize("number", SEEDS)
def test_bodies_of_any_bytes_and_any_shape(victim, operations, number):
    """Bodies that no operation has, JSON and CBOR and forms, valid and not."""
    bodies = st.binary(max_size=60) | JUNK.map(encoded) | st.binary(max_size=20).map(lambda tail: b"\xbf" + tail)
    tried: Counter[int] = Counter()

    @seed(number)
    @long(1500)
    @given(data=st.data())
    def run(data):
        service = data.draw(st.sampled_from(sorted(operations)))
        operation, body = data.draw(st.sampled_from(operations[service])), data.draw(bodies)
        if service == "cloudwatch" and data.draw(st.booleans()):
            made = request_of(victim, (service, operation, "smithy-rpc-v2-cbor", body))
        elif SERVICES[service] in TARGETS:
            made = request_of(victim, (service, operation, "json", body))
        else:
            made = request_of(victim, (service, operation, "query", b"Action=" + operation.encode() + b"&" + body))
        tried[expect_sense(victim, made)] += 1

    run()
    print(f"seed {number}: {sum(tried.values())} requests, {dict(tried)}")


@pytest.mark.parametrize("number", SEEDS)
def test_cbor_of_any_bytes(number):
    """The decoder ends with a value of plain types or with ValueError, whatever it is given."""
    plain = (dict, list, str, bytes, int, float, bool, type(None), cbor2.CBORSimpleValue, type(cbor2.undefined))
    tried: Counter[str] = Counter()

    def check(value, depth=0):
        assert isinstance(value, plain)
        assert depth <= 65
        for inner in [*value.items()] if isinstance(value, dict) else []:
            assert isinstance(inner[0], (str, bytes))
            check(inner[1], depth + 1)
        for inner in value if isinstance(value, list) else []:
            check(inner, depth + 1)

    @seed(number)
    @long(20_000)
    @given(st.binary(max_size=40) | st.lists(st.sampled_from(range(0x80, 0x100)), max_size=40).map(bytes))
    def run(data):
        try:
            check(cbor.loads(data))
            tried["decoded"] += 1
        except ValueError:
            tried["refused"] += 1

    run()
    print(f"seed {number}: {dict(tried)}")


@pytest.mark.parametrize("number", SEEDS)
def test_faults_of_any_shape(victim, number):
    import json

    names = st.sampled_from(
        [
            "kind",
            "operation",
            "endpoint",
            "model",
            "skip",
            "times",
            "probability",
            "seconds",
            "code",
            "status",
            "message",
        ]
    )
    kinds = st.sampled_from(["throttle", "error", "drop_before", "slow_load", "capacity", "s3_denied"])
    tried: Counter[int] = Counter()

    @seed(number)
    @long(1000)
    @given(st.dictionaries(names | st.text(max_size=5), JUNK, max_size=5), kinds)
    def run(fault, kind):
        body = json.dumps({"model": "none of any request", "operation": "None"} | fault | {"kind": kind}).encode()
        with no_errors_logged():
            status, _, said = ask(victim, signed(victim, body, path="/_mme/faults", Content_Type="application/json"))
            assert status in (200, 400), said
            # Whatever was accepted strikes without harm to the host.
            status, _, _ = ask(victim, signed(victim, b"{}", target="ListModels"))
            victim.faults.clear()
            alive(victim)
        tried[status] += 1

    run()
    print(f"seed {number}: {sum(tried.values())} faults")

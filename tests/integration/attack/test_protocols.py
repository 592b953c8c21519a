"""Protocol fuzzing of the host, with seeds: no request gets 500, and the host answers the next one.

Each test prints what it tried; `docs/security.md` has the figures.
"""

from __future__ import annotations

import json
from collections import Counter

import attrs
import cbor2
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from mme_sdk.local import ControlSettings, Fault, LocalSageMaker
from mme_sdk.local.wire import cbor
from mme_sdk.local.wire.service_model import load_service_model
from tests.support.local.fakes import FakeHosting
from tests.support.local.helpers import settle
from tests.support.local.hostile import (
    FORM,
    JUNK,
    SENSIBLE,
    SERVICES,
    anew,
    broken,
    call,
    claimed,
    encoded,
    expect_no_crash,
    expect_sense,
    least,
    neighbours,
    no_errors_logged,
    request_of,
    set_the_stage,
)
from tests.support.local.raw import TARGETS, alive, ask, signed

pytestmark = pytest.mark.slow

SEEDS = (1, 2)


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
    @long(1500)
    @given(data=st.data())
    def run(data):
        if tried.total() % 20 == 0:
            set_the_stage(victim)
        made = data.draw(call(operations))
        tried[made[1], expect_sense(victim, request_of(victim, made))] += 1

    run()
    accepted = sum(count for (_, status), count in tried.items() if status == 200)
    print(
        f"seed {number}: {tried.total()} requests of {len({one for one, _ in tried})} operations, {accepted} accepted"
    )
    assert accepted > 200


def test_neighbours_of_requests_that_are_accepted(victim, operations):
    """Each member of a good request left out, added, and at each end of its range; endpoints on what was accepted."""
    tried: Counter[tuple[str, int]] = Counter()
    client = victim.boto("sagemaker")
    for service, names in operations.items():
        for operation in names:
            shape = load_service_model(service).operation_model(operation).input_shape
            if shape is None or not shape.members:
                continue
            sensible = SENSIBLE.get(operation) or least(shape)
            for number, params in enumerate([least(shape), sensible, *neighbours(shape, sensible)]):
                if number % 10 == 0:
                    set_the_stage(victim)
                if operation.startswith("UpdateEndpoint"):
                    settle(client, "a")
                params = anew(operation, params, number)
                made = (service, operation, "json" if SERVICES[service] in TARGETS else "query", params)
                tried[operation, send(victim, *made)] += 1
                if (operation, 200) in tried and operation == "CreateEndpointConfig" and number > 1:
                    endpoint = {"EndpointName": f"e{number}", "EndpointConfigName": f"n{number}"}
                    tried["CreateEndpoint", send(victim, service, "CreateEndpoint", "json", endpoint)] += 1
    client.close()
    never = set(SENSIBLE) - {one for one, status in tried if status == 200}
    accepted = sum(count for (_, status), count in tried.items() if status == 200)
    print(f"{tried.total()} requests, {accepted} accepted")
    assert not never, "these were never accepted, so little of them was tried"


def send(victim, service: str, operation: str, protocol: str, params: dict) -> int:
    return expect_sense(victim, request_of(victim, (service, operation, protocol, json.dumps(params).encode())))


@pytest.mark.parametrize("number", SEEDS)
def test_broken_bytes(victim, number):
    tried = 0

    @seed(number)
    @long(1500)
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
            signed(victim, b"Action=GetCallerIdentity", service="sts", Content_Type=FORM),
        ]
        expect_no_crash(victim, data.draw(broken(data.draw(st.sampled_from(requests)))))
        tried += 1

    run()
    print(f"seed {number}: {tried} requests")


@pytest.mark.parametrize("number", SEEDS)
def test_bodies_of_any_bytes_and_any_shape(victim, operations, number):
    """Bodies that no operation has: JSON, CBOR and forms, valid and not."""
    bodies = st.binary(max_size=60) | JUNK.map(encoded) | st.binary(max_size=20).map(lambda tail: b"\xbf" + tail)
    tried: Counter[int] = Counter()

    @seed(number)
    @long(1000)
    @given(data=st.data())
    def run(data):
        service = data.draw(st.sampled_from(sorted(operations)))
        operation, body = data.draw(st.sampled_from(operations[service])), data.draw(bodies)
        protocol = "json" if SERVICES[service] in TARGETS else "query"
        if service == "cloudwatch":
            protocol = data.draw(st.sampled_from(["json", "query", "smithy-rpc-v2-cbor"]))
        if protocol == "query":
            body = b"Action=" + operation.encode() + b"&" + body
        tried[expect_sense(victim, request_of(victim, (service, operation, protocol, body)))] += 1

    run()
    print(f"seed {number}: {tried.total()} requests, {dict(tried)}")


@pytest.mark.parametrize("number", SEEDS)
def test_cbor_of_any_bytes(number):
    """The decoder ends with a value of plain types or with ValueError, whatever it is given."""
    plain = (dict, list, str, bytes, int, float, bool, type(None), cbor2.CBORSimpleValue, type(cbor2.undefined))
    tried: Counter[str] = Counter()

    def check(value, depth=0):
        assert isinstance(value, plain)
        assert depth <= 65
        for key, item in value.items() if isinstance(value, dict) else ():
            assert isinstance(key, (str, bytes))
            check(item, depth + 1)
        for item in value if isinstance(value, list) else ():
            check(item, depth + 1)

    @seed(number)
    @long(10_000)
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
    names = st.sampled_from([one.name for one in attrs.fields(Fault)])
    kinds = st.sampled_from(["throttle", "error", "drop_before", "slow_load", "capacity", "s3_denied"])
    tried: Counter[int] = Counter()

    @seed(number)
    @long(500)
    @given(st.dictionaries(names | st.text(max_size=5), JUNK, max_size=5), kinds)
    def run(fault, kind):
        body = json.dumps({"kind": kind} | fault).encode()
        with no_errors_logged():
            status, _, said = ask(victim, signed(victim, body, path="/_mme/faults", Content_Type="application/json"))
            assert status in (200, 400), said
            # Whatever was accepted strikes in HTTP that a client can read.
            status, headers, _ = ask(victim, signed(victim, b"{}", target="ListModels"))
            assert status == 0 or "x-amzn-requestid" in headers
            victim.faults.clear()
            alive(victim)
        tried[status] += 1

    run()
    print(f"seed {number}: {tried.total()} faults")

"""Fuzz the protocols for a short time. tests/integration/attack/test_protocols.py has the long run."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mme_sdk.local import ControlSettings, LocalSageMaker
from tests.support.local.fakes import FakeHosting
from tests.support.local.hostile import broken, call, claimed, expect_no_crash, expect_sense, request_of, set_the_stage
from tests.support.local.raw import signed

SHORT = settings(max_examples=40, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def victim():
    """A separate host, because the generated requests could disturb other tests."""
    control = ControlSettings(provisioning=0.0, scaling=0.0, deletion=0.0, wait_scale=0.001, minute=0.1)
    with LocalSageMaker(control=control, hosting=FakeHosting) as host:
        yield host


@pytest.fixture(scope="module")
def operations(victim):
    set_the_stage(victim)
    return claimed(victim)


def test_the_operations_that_are_tried_are_those_that_the_host_claims(operations):
    assert {"CreateModel", "CreateEndpoint", "UpdateEndpoint"} <= set(operations["sagemaker"])
    assert {"PutMetricData", "GetMetricData", "PutMetricAlarm"} <= set(operations["cloudwatch"])
    assert {"PutScalingPolicy", "PutScheduledAction"} <= set(operations["application-autoscaling"])
    assert operations["sts"] == ["GetCallerIdentity"]


@given(data=st.data())
@SHORT
def test_a_well_formed_request_never_gets_500(victim, operations, data):
    expect_sense(victim, request_of(victim, data.draw(call(operations))))


@given(data=st.data())
@SHORT
def test_broken_bytes_never_get_500(victim, data):
    requests = [
        signed(victim, b"{}", target="ListModels"),
        signed(victim, b"x", path="/endpoints/a/invocations", X_Amzn_SageMaker_Target_Model="m"),
        signed(victim, b'{"kind": "slow_load", "model": "none"}', path="/_mme/faults", Content_Type="application/json"),
        b"GET /_mme/status HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
    ]
    expect_no_crash(victim, data.draw(broken(data.draw(st.sampled_from(requests)))))

"""Bytes that a hostile or broken server may send in the place of an answer, judged by the parser and by h11."""

from __future__ import annotations

import random

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mme_sdk.runtime.transport.response_parser import ResponseParser
from tests.support.transport.oracle import mutations, verdict
from tests.unit.transport.test_response_parser import answers

pytestmark = pytest.mark.slow
SEEDS = range(10)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_we_accept_means_to_h11_what_it_means_to_us(seed: int) -> None:
    """10,000 mutated answers a seed, each also cut in three places."""
    rng = random.Random(seed)
    accepted = 0
    for wire in mutations(rng, 10_000):
        ours = verdict(ResponseParser, wire)
        cuts = rng.sample(range(1, len(wire)), min(3, len(wire) - 1))
        assert verdict(ResponseParser, wire, cuts) == ours, (wire, cuts)
        if ours is not None:
            accepted += 1
            assert ours == verdict(h11, wire), wire
    assert accepted > 300


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_grammatical_answers_with_bytes_replaced(data: st.DataObject) -> None:
    wire, _, _ = data.draw(answers())
    at = data.draw(st.integers(0, len(wire) - 1))
    mutated = wire[:at] + data.draw(st.binary(max_size=3)) + wire[at + data.draw(st.integers(0, 2)) :]
    ours = verdict(ResponseParser, mutated)
    assert ours is None or ours == verdict(h11, mutated)

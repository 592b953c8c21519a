"""Endpoints against what people and other tools have in an account: many configurations, and many orders of calls."""

from __future__ import annotations

import logging

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.property.endpoints.test_configurations import ONE_FIELD, holds, worlds
from tests.support.endpoints.fake import InMemory


@pytest.mark.slow
@pytest.mark.parametrize("field", ONE_FIELD)
@pytest.mark.parametrize("number", range(5))
def test_many_configurations_are_read_planned_changed_and_rolled_back(field: str, number: int) -> None:
    logging.getLogger("mme_sdk.endpoints").setLevel(logging.ERROR)

    @seed(number)
    @settings(
        max_examples=60,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(aws=worlds())
    def play(aws: InMemory) -> None:
        holds(aws, field)

    play()

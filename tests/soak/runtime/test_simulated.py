"""A fleet over a quarter of an hour of simulated time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.runtime.test_simulated import bench

__all__ = ["bench"]


@pytest.mark.slow
def test_a_fleet_that_starts_cold_recovers(bench: Any) -> None:
    for hold, any_while_cold in ((59.9, False), (0.02, True)):
        case = bench.Collapse(minutes=15, hold=hold, any_while_cold=any_while_cold)
        success, p50, _, _ = bench.collapse(case, bench.RIVALS[3], 1)
        assert success == "100%"
        assert float(p50) < 1

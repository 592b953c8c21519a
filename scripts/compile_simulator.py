"""Compile the planner's functions into numba's cache, which the processes of a test run share.

Run it before the tests, as `make tests` does: otherwise each process compiles them, which takes it ten seconds.
"""

from __future__ import annotations

import numpy as np

from mme_sdk.planning.analysis.stack import stack_distances
from mme_sdk.planning.simulation import FleetConfig, Traffic, simulate


def main() -> None:
    """Call each function once."""
    count, models = 200, 5
    drawn = np.random.default_rng(0)
    called = drawn.integers(0, models, count)
    ones = np.ones(models)
    traffic = Traffic(
        times=np.cumsum(drawn.exponential(1.0, count)),
        models=called,
        service=np.full(count, 0.1),
        disk=ones.astype(int),
        memory=ones.astype(int),
        download=ones,
        load=ones,
    )
    simulate(traffic, FleetConfig(instances=2, workers=1, memory_bytes=2, volume_bytes=3), engine="numba")
    stack_distances(called)


if __name__ == "__main__":
    main()

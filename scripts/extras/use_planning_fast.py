"""A fleet is simulated by the compiled engine."""

import numpy as np

from mme_sdk.planning.simulation import FleetConfig, Traffic, simulate

one = np.ones(2)
calls = Traffic(
    times=np.arange(10.0),
    models=np.arange(10) % 2,
    service=np.full(10, 0.05),
    disk=one,
    memory=one,
    download=one,
    load=one,
)
config = FleetConfig(instances=1, workers=1, memory_bytes=1, volume_bytes=100)
found = [simulate(calls, config, skip=0.0, engine=engine).latency for engine in ("python", "numba")]
assert np.array_equal(*found), found

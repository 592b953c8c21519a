"""Score a table of many models with Ray on this machine: `python examples/scale/ray_table.py`.

Needs `pip install 'mme-sdk[ray,local]'`. Ray listens on all interfaces of the machine. On Linux, run it in a network of
its own: `unshare -rn sh -c 'ip link set lo up; exec python examples/scale/ray_table.py'`.
"""

from __future__ import annotations

import os
import tempfile

import pandas as pd
import ray
import ray.data
from laptop import scoring, table

import mme_sdk.scale.ray
from mme_sdk.scale import Scorer


def main() -> pd.DataFrame:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray sends no reports of its use
    with scoring() as endpoint:  # before Ray starts, so that its workers inherit the credentials
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200 << 20,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=tempfile.mkdtemp(prefix="mme-ray-"),  # the paths of its sockets must be short
        )
        try:
            scorer = Scorer(endpoint=endpoint, model="tenant", ids=["id"])
            rows = ray.data.from_pandas(table()).repartition(5)
            scored = mme_sdk.scale.ray.score(rows, scorer, buckets=2)
            return scored.to_pandas().sort_values("id", ignore_index=True)  # once: a second use scores again
        finally:
            ray.shutdown()


if __name__ == "__main__":
    print(main())

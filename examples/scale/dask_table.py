"""Score a table of many models on a Dask cluster of this machine: `python examples/scale/dask_table.py`.

Needs `pip install 'mme-sdk[dask,local]'`.
"""

from __future__ import annotations

import dask.dataframe as dd
import pandas as pd
from distributed import Client, LocalCluster
from laptop import scoring, table

import mme_sdk.scale.dask
from mme_sdk.scale import Scorer


def main() -> pd.DataFrame:
    with (
        scoring() as endpoint,  # before the workers start, so that they inherit the credentials
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster,
        Client(cluster),
    ):
        scorer = Scorer(endpoint=endpoint, model="tenant", ids=["id"])
        rows = dd.from_pandas(table(), npartitions=5)
        scored = mme_sdk.scale.dask.score(rows, scorer, buckets=2)
        return scored.compute().sort_values("id", ignore_index=True)  # once: each compute scores the rows again


if __name__ == "__main__":
    print(main())

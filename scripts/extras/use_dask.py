"""A table is scored."""

import dask.dataframe as dd
import pandas as pd
from distributed import LocalCluster  # noqa: F401 - a part of the extra
from server import endpoint

import mme_sdk.scale.dask
from mme_sdk.scale import Scorer

table = pd.DataFrame({"id": [0, 1, 2, 3], "tenant": ["a", "b", "a", "b"], "word": ["x", "xx", "xxx", "xxxx"]})
with endpoint() as lengths:
    scorer = Scorer(endpoint=lengths, model="tenant", ids=["id"])
    scored = mme_sdk.scale.dask.score(dd.from_pandas(table, npartitions=2), scorer, buckets=2)
    answers = scored.compute(scheduler="synchronous").sort_values("id")
    assert list(answers["prediction"]) == [1.0, 2.0, 3.0, 4.0], answers

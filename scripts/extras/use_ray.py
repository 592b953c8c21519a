"""A table of pandas is refused by name (Ray itself is not started: it listens on all interfaces)."""

import pandas as pd
import ray.data
from server import endpoint

import mme_sdk.scale.ray
from mme_sdk.errors import MMEError
from mme_sdk.scale import Scorer

assert ray.data.Dataset is not None
with endpoint() as lengths:
    scorer = Scorer(endpoint=lengths, model="tenant", ids=["id"])
    try:
        mme_sdk.scale.ray.score(pd.DataFrame({"tenant": ["a"]}), scorer, buckets=2)
        said = "it was accepted"
    except MMEError as error:
        said = str(error)
assert "takes a ray.data.Dataset, not a DataFrame" in said, said

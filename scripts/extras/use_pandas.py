"""A data frame is sent as CSV, and encoded as Parquet and back."""

import pandas as pd
from server import endpoint

from mme_sdk.runtime import Codecs

frame = pd.DataFrame({"a": [1, 20]})
body, media = Codecs().encode(frame, "application/x-parquet")
assert body[:4] == b"PAR1", media
with endpoint() as lengths:
    assert lengths.invoke(frame, model="a", content_type="text/csv").json() == [1.0, 2.0]

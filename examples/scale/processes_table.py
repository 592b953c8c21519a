"""Score a table of many models in two processes, on a laptop: `python examples/scale/processes_table.py`."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pandas as pd
from laptop import scoring, table

from mme_sdk.scale import Scorer, score


def main() -> pd.DataFrame:
    with scoring() as endpoint:
        scorer = Scorer(endpoint=endpoint, model="tenant", ids=["id"])
        # "spawn" starts each worker afresh; a forked process inherits the threads' locks of this one.
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
            return score(table(), scorer, workers=workers)


if __name__ == "__main__":
    print(main())

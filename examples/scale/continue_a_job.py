"""Continue a job after its worker was killed, on a laptop: `python examples/scale/continue_a_job.py`.

The worker kills itself at a row, as the kernel does when memory is short. The second run finds the answers of the first
one in the ledger, and sends only the other requests.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Any

import pandas as pd
from score_table import ten_models

from mme_sdk.runtime.telemetry.hooks import CallCompleted
from mme_sdk.scale import Scorer, score

LEDGER = "s3://ml-models/jobs/42/"


class KillAfter:
    """Ends a worker process after some calls.

    Args:
        calls: The number of calls.
    """

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, event: Any) -> None:
        """Count a call."""
        self.left -= isinstance(event, CallCompleted)
        if self.left == 0 and parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score 1000 rows in a process that is killed, then the same rows in threads."""
    with ten_models() as (client, frame):
        scorer = Scorer(endpoint=client.endpoint("scoring"), model="tenant", ids=["id"], rows_per_call=10)
        killed = Scorer(
            endpoint=client.with_options(hooks=[KillAfter(60)]).endpoint("scoring"),
            model="tenant",
            ids=["id"],
            rows_per_call=10,
        )
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
            first = score(frame, killed, workers=workers, ledger=LEDGER)
        with ThreadPoolExecutor(2) as workers:
            second = score(frame, scorer, workers=workers, ledger=LEDGER)
        return first, second


if __name__ == "__main__":
    for scored in main():
        print(scored["error_type"].fillna("scored").value_counts().to_dict())

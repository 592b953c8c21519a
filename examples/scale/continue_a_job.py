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

import attrs
import pandas as pd
from laptop import scoring, table

from mme_sdk import MMEClient
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
    with scoring() as endpoint, MMEClient(hooks=[KillAfter(60)]) as client:
        scorer = Scorer(endpoint=endpoint, model="tenant", ids=["id"], rows_per_call=10)
        killed = attrs.evolve(scorer, endpoint=client.endpoint("scoring"))
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
            first = score(table(), killed, workers=workers, ledger=LEDGER)
        with ThreadPoolExecutor(2) as workers:
            second = score(table(), scorer, workers=workers, ledger=LEDGER)
        return first, second


if __name__ == "__main__":
    for scored in main():
        print(scored["error_type"].fillna("scored").value_counts().to_dict())

"""An Airflow DAG that scores one table a day. For Airflow 3; in Airflow 2, import from `airflow.decorators`.

Put this file and scoring.py into the folder of the DAGs. The workers need `mme-sdk[pandas]` and AWS credentials.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import dag, task

ROWS = "/data/{ds}.parquet"
SCORES = "/data/{ds}-scores.parquet"
LEDGER = "s3://ml-models/jobs/{ds}/"


@dag(schedule="@daily", start_date=pendulum.datetime(2026, 1, 1), catchup=False)
def daily_scores():
    @task
    def pin(ds: str) -> dict[str, str]:
        from scoring import versions  # in the task: Airflow imports the file of a DAG every few seconds

        return versions(ROWS.format(ds=ds))

    @task(retries=2, retry_delay=timedelta(minutes=5))
    def score_day(pinned: dict[str, str], ds: str) -> None:
        from scoring import score

        failed = score(ROWS.format(ds=ds), SCORES.format(ds=ds), LEDGER.format(ds=ds), pinned)
        if failed:
            raise RuntimeError(f"{failed} rows of {ds} were not scored")  # the retry sends these rows only

    score_day(pin())


daily_scores()

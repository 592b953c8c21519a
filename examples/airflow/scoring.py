"""The work of the tasks in daily_scores.py. It needs no Airflow, so that a test can call it.

Try it: `python examples/with_host.py python examples/airflow/scoring.py`. Needs `pip install 'mme-sdk[local,pandas]'`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from mme_sdk import MMEClient
from mme_sdk.scale import Scorer, score_part

MODELS = "s3://ml-models/prod/"
ENDPOINT = "scoring"


def versions(source: str) -> dict[str, str]:
    """Return the target model of each alias that a table names, as the alias stands now."""
    names = pd.read_parquet(source, columns=["model"])["model"].unique()
    with MMEClient() as client:
        models = client.models(MODELS)
        return {name: models.resolve(name).target_model for name in names if "@" in name}


def score(source: str, target: str, ledger: str, pinned: dict[str, str]) -> int:
    """Score a Parquet file into another one. Called again, it sends only what the ledger does not have.

    Args:
        source: Rows with the columns `id` and `model`, and those that the models read.
        target: The file to write: `id`, `model`, `prediction`, `error` and `error_type`.
        ledger: Where the answers of this job are kept: an S3 prefix or a directory.
        pinned: What `versions` returned for the job, so that a task that is repeated calls the same versions.

    Returns:
        The number of rows that failed.
    """
    with MMEClient() as client:
        scorer = Scorer(
            endpoint=client.endpoint(ENDPOINT), model="model", ids=["id"], answer={"prediction": "bool"}, pinned=pinned
        )
        scored = score_part(pd.read_parquet(source), scorer, ledger=ledger)
    scored.to_parquet(target)
    return int(scored["error"].notna().sum())


def main() -> pd.DataFrame:
    """Score a small table twice; the second time, nothing is sent."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/rows.parquet", f"{folder}/scores.parquet"
        rows = pd.DataFrame({"id": [1, 2, 3], "model": "shop@live", "amount": [12.5, 80.0, 51.0]})
        rows.to_parquet(source)
        pinned = versions(source)
        for _ in range(2):
            failed = score(source, target, "s3://ml-models/jobs/today/", pinned)
            print(f"{failed} rows failed, scored by {pinned}, and kept in {Path(target).name}")
        return pd.read_parquet(target)


if __name__ == "__main__":
    print(main().to_string(index=False))

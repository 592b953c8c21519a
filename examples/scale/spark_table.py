"""Score a table of many models with Spark on this machine: `python examples/scale/spark_table.py`.

Needs `pip install 'mme-sdk[spark,local]'` and Java 17.
"""

from __future__ import annotations

import os
import sys

import pandas as pd
from laptop import scoring, table
from pyspark.sql import SparkSession

import mme_sdk.scale.spark
from mme_sdk.scale import Scorer


def main() -> pd.DataFrame:
    os.environ["PYSPARK_PYTHON"] = sys.executable  # else the workers run the first python3 of the path
    with scoring() as endpoint:  # before Spark starts, so that its workers inherit the credentials
        settings = {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2",
        }
        builder = SparkSession.builder.master("local[2,4]")  # two workers; a task is tried four times
        for name, value in settings.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        try:
            scorer = Scorer(endpoint=endpoint, model="tenant", ids=["id"])
            rows = session.createDataFrame(table()).repartition(5)
            scored = mme_sdk.scale.spark.score(rows, scorer, buckets=2)
            return scored.toPandas().sort_values("id", ignore_index=True)  # once: each action scores again
        finally:
            session.stop()


if __name__ == "__main__":
    print(main())

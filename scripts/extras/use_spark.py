"""A table is scored (without Java: another table is refused)."""

import os
import shutil
import sys

import pandas as pd
from pyspark.sql import SparkSession
from server import endpoint

import mme_sdk.scale.spark
from mme_sdk.errors import MMEError
from mme_sdk.scale import Scorer

table = pd.DataFrame({"id": [0, 1, 2, 3], "tenant": ["a", "b", "a", "b"], "word": ["x", "xx", "xxx", "xxxx"]})
os.environ["PYSPARK_PYTHON"] = sys.executable
with endpoint() as lengths:
    scorer = Scorer(endpoint=lengths, model="tenant", ids=["id"])
    if shutil.which("java") is None:
        try:
            mme_sdk.scale.spark.score(table, scorer, buckets=2)
        except MMEError as error:
            print("Java is not installed:", error)
            sys.exit()
        raise AssertionError("a data frame of pandas was accepted")
    settings = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.ui.enabled": "false"}
    builder = SparkSession.builder.master("local[1]").config("spark.sql.shuffle.partitions", "2")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    scored = mme_sdk.scale.spark.score(session.createDataFrame(table), scorer, buckets=2)
    answers = scored.toPandas().sort_values("id")
    assert list(answers["prediction"]) == [1.0, 2.0, 3.0, 4.0], answers
    session.stop()

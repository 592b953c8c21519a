"""The pass of an engine that counts the rows reads the column of the model only."""

from __future__ import annotations

from typing import Any

import attrs
import pandas as pd
import pytest

from mme_sdk import MMEClient
from mme_sdk.errors import InvalidInputError
from mme_sdk.scale import Scorer


@pytest.mark.slow
def test_dask_reads_one_column_to_count() -> None:
    dd = pytest.importorskip("dask.dataframe")
    dask = pytest.importorskip("dask")
    from mme_sdk.scale import dask as scale_dask

    read: list[list[str] | None] = []

    def part(number: int, columns: list[str] | None = None) -> pd.DataFrame:
        read.append(columns)
        whole = pd.DataFrame({"tenant": ["a.tar.gz", "b.tar.gz"], "x": [number, number]})
        return whole if columns is None else whole[columns]

    client = MMEClient(region="eu-west-1", endpoint_url="http://127.0.0.1:9")
    meta = pd.DataFrame({"tenant": pd.Series(dtype=object), "x": pd.Series(dtype="int64")})
    with dask.config.set(scheduler="sync"):
        rows = dd.from_map(part, [0, 1], meta=meta)
        result = scale_dask.score(rows, Scorer(endpoint=client.endpoint("scoring"), model="tenant"), buckets=2)
    assert read == [["tenant"]] * 2
    assert result.npartitions == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Spark about itself
def test_spark_refuses_a_column_with_a_dot_in_its_name() -> None:
    sql: Any = pytest.importorskip("pyspark.sql")
    from mme_sdk.scale import spark as scale_spark

    builder = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    settings = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    for name, value in settings.items():
        builder = builder.config(name, value)
    client = MMEClient(region="eu-west-1", endpoint_url="http://127.0.0.1:9")
    session = builder.getOrCreate()
    try:
        rows = session.createDataFrame(pd.DataFrame({"the.tenant": ["a.tar.gz"] * 2, "x": [1, 2]}))
        scorer = Scorer(endpoint=client.endpoint("scoring"), model="the.tenant")
        with pytest.raises(InvalidInputError, match=r"'the\.tenant'"):
            scale_spark.score(rows, scorer, buckets=1)
        renamed = rows.withColumnsRenamed({"the.tenant": "the_tenant"})
        result = scale_spark.score(renamed, attrs.evolve(scorer, model="the_tenant"), buckets=1)
        assert result.columns == ["the_tenant", "prediction", "error", "error_type"]
    finally:
        session.stop()

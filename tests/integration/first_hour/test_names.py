"""A model is found by the names that a person gives it; what is not certain is suggested, never guessed."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest

from mme_sdk.errors import EndpointNotFoundError, InvalidInputError, ModelNotFoundError
from tests.support.first_hour.world import FirstHour

ROW = {"amount": 1.0}


CERTAIN = {  # name: target model, and how many requests are refused before it is known
    "fraud@latest": ("fraud/v2.tar.gz", 0),
    "fraud@live": ("fraud/v1.tar.gz", 0),
    "fraud": ("fraud/v2.tar.gz", 1),
    "fraud/v1": ("fraud/v1.tar.gz", 1),
    "team/churn": ("team/churn/v1.tar.gz", 1),
    "team/churn@latest": ("team/churn/v1.tar.gz", 0),
    "s3://models/prod/fraud/v1.tar.gz": ("fraud/v1.tar.gz", 0),
    "s3://models/prod/fraud/v2": ("fraud/v2.tar.gz", 1),
    "s3://models/prod/team/churn/": ("team/churn/v1.tar.gz", 1),
    "s3://models/prod/fraud@live": ("fraud/v1.tar.gz", 0),
}


def test_a_certain_name_is_resolved_and_costs_nothing_the_second_time(first_hour: FirstHour) -> None:
    with first_hour.host.client() as client:  # it has no names in memory
        endpoint = client.endpoint("scoring")
        for name, (target, refused) in CERTAIN.items():
            first, again = (endpoint.invoke(ROW, model=name, deadline=300) for _ in range(2))
            assert (first.model, again.model) == (target, target)
            assert [one.code for one in first.history].count("ValidationError") == refused, name
            assert "ValidationError" not in [one.code for one in again.history]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Fraud", "fraud/v2.tar.gz"),
        ("FRAUD/V1.TAR.GZ", "fraud/v1.tar.gz"),
        ("v2.tar.gz", "fraud/v2.tar.gz"),
        ("v2", "fraud/v2.tar.gz"),
        ("fruad/v2.tar.gz", "fraud/v2.tar.gz"),
        ("fraud:v2", "fraud/v2.tar.gz"),
        ("fraud-live", "fraud@live"),
        ("live", "fraud@live"),
        ("churn", "team/churn/v1.tar.gz"),
        ("fraud@lvie", "fraud@live"),
        ("fraud@LATEST", "fraud@latest"),
        ("Fraud@live", "fraud@live"),
        ("fraud@v2", "fraud/v2.tar.gz"),
        ("team/churn@live", "team/churn/v1.tar.gz"),
        ("fruad@latest", "fraud@live"),
        ("s3://models/prod/fraud/v7.tar.gz", "fraud/v2.tar.gz"),
        ("/fraud/v1.tar.gz", "fraud/v1.tar.gz"),
    ],
)
def test_an_uncertain_name_is_suggested(first_hour: FirstHour, name: str, meant: str) -> None:
    with pytest.raises((ModelNotFoundError, InvalidInputError)) as caught:
        first_hour.scoring.invoke(ROW, model=name, deadline=300)
    assert meant in (caught.value.hint or "")
    assert "no name" not in (caught.value.hint or "")


def test_a_key_that_looks_like_another_name_wins(first_hour: FirstHour) -> None:
    archive = first_hour.host.boto("s3").get_object(Bucket="models", Key="prod/fraud/v1.tar.gz")["Body"].read()
    for key in ("flat.tar.gz", "both.tar.gz", "both/v1.tar.gz", "team/a@b"):
        first_hour.host.boto("s3").put_object(Bucket="models", Key=f"prod/{key}", Body=archive)
    try:
        assert first_hour.scoring.invoke(ROW, model="flat", deadline=300).model == "flat.tar.gz"
        assert first_hour.scoring.invoke(ROW, model="team/a@b", deadline=300).model == "team/a@b"
        with pytest.raises(ModelNotFoundError) as caught:
            first_hour.scoring.invoke(ROW, model="both", deadline=300)
        assert caught.value.hint == "did you mean both.tar.gz or both@latest?"
    finally:
        for key in ("flat.tar.gz", "both.tar.gz", "both/v1.tar.gz", "team/a@b"):
            first_hour.host.boto("s3").delete_object(Bucket="models", Key=f"prod/{key}")


def test_a_new_version_is_the_newest_and_a_deleted_one_is_not(first_hour: FirstHour) -> None:
    models, endpoint = first_hour.models, first_hour.scoring
    models.register("moving", first_hour.source("moving"), "v1")
    assert endpoint.invoke(ROW, model="moving", deadline=300).model == "moving/v1.tar.gz"
    first_hour.later_than("moving/v1.tar.gz")
    models.register("moving", first_hour.source("moving", note="next"), "v2")
    assert endpoint.invoke(ROW, model="moving", deadline=300).model == "moving/v2.tar.gz"
    models.delete("moving", "v2")
    assert endpoint.invoke(ROW, model="moving", deadline=300).model == "moving/v1.tar.gz"
    models.alias("moving", "latest", "v1")
    assert endpoint.invoke(ROW, model="moving@latest", deadline=300).model == "moving/v1.tar.gz"
    models.unalias("moving", "latest")
    models.delete("moving")
    with pytest.raises(ModelNotFoundError):
        endpoint.invoke(ROW, model="moving", deadline=300)


def test_batches_find_models_by_name(first_hour: FirstHour) -> None:
    names = ["fraud", "fraud@live", "s3://models/prod/team/churn/v1.tar.gz", "Fraud"]
    results = list(first_hour.scoring.invoke_many(names, model_of=str, data_of=lambda _: ROW, deadline=300))
    models = [None if one.reply is None else one.reply.model for one in results]
    assert models == ["fraud/v2.tar.gz", "fraud/v1.tar.gz", "team/churn/v1.tar.gz", None]
    assert "fraud/v2.tar.gz" in str(results[3].error)
    frame = pd.DataFrame({"amount": [1.0, 2.0], "model": ["fruad", "fruad"]})
    with pytest.raises(ModelNotFoundError) as caught:
        raise first_hour.scoring.invoke_frame(frame, model_of="model", deadline=300)["error"].iloc[0]
    assert "fraud/v2.tar.gz" in (caught.value.hint or "")


def test_warm_counts_what_is_loaded_whatever_the_model_thinks_of_the_probe(first_hour: FirstHour) -> None:
    with first_hour.host.client() as client:
        names = ["fraud", "team/churn", first_hour.broken, "nothing"]
        report = client.endpoint("scoring").warm(names, deadline=300)  # these models refuse the probe
    assert sorted(report.loaded) == ["fraud", "team/churn"]
    assert sorted(one.model for one in report.failed) == ["broken/v1.tar.gz", "nothing"]


def test_the_asynchronous_client_finds_models_too(first_hour: FirstHour) -> None:
    async def main() -> None:
        async with first_hour.host.async_client() as client:
            endpoint = client.endpoint("scoring")
            assert (await endpoint.invoke(ROW, model="fraud", deadline=300)).model == "fraud/v2.tar.gz"
            with pytest.raises(EndpointNotFoundError, match="there is no endpoint"):
                await client.endpoint("scorin").invoke(ROW, model="fraud", deadline=300)
            lines = await endpoint.logs(model="fraud/v2.tar.gz", lines=5)
            assert "[fraud/v2.tar.gz] amount 1.0" in lines
            assert len(lines) <= 5

    asyncio.run(main())


def test_logs_are_those_of_the_model_and_can_be_followed(first_hour: FirstHour) -> None:
    endpoint = first_hour.scoring
    endpoint.invoke({"amount": 17}, model="fraud/v1.tar.gz", deadline=300)
    followed = endpoint.logs(model="fraud/v1.tar.gz", lines=1, follow=True)
    assert next(followed) == "[fraud/v1.tar.gz] amount 17"
    endpoint.invoke({"amount": 4}, model="fraud/v2.tar.gz", deadline=300)
    endpoint.invoke({"amount": 18}, model="fraud/v1.tar.gz", deadline=300)
    assert next(followed) == "[fraud/v1.tar.gz] amount 18"
    assert all("fraud/v1.tar.gz" in line for line in endpoint.logs(model="fraud/v1.tar.gz"))

"""Aliases and deletion as callers meet them: a deploy is a pointer move, and what was deleted is not asked for."""

import asyncio
import json

import pytest

from mme_sdk import MMEClient, RetryPolicy, errors

SETOSA = [[5.1, 3.5, 1.4, 0.2]]


def test_a_deleted_model_is_refused_at_once_though_an_instance_still_holds_it(local, models, endpoint, tree):
    gone = models.register("gone", tree, version="v1")
    assert endpoint.invoke(SETOSA, model=gone).json() == [0]
    models.delete("gone", "v1")
    for model in (gone, gone.target_model):
        with pytest.raises(errors.ModelNotFoundError, match="was deleted") as caught:
            endpoint.invoke(SETOSA, model=model)
        assert caught.value.sent is False
    runtime = local.boto("sagemaker-runtime")  # AWS itself goes on serving the cached copy
    answer = runtime.invoke_endpoint(
        EndpointName=endpoint.name,
        TargetModel="gone/v1.tar.gz",
        ContentType="application/json",
        Body=json.dumps(SETOSA).encode(),
    )
    assert json.loads(answer["Body"].read()) == [0]  # an answer that isn't read keeps its connection from being closed
    runtime.close()


def test_a_deploy_is_a_pointer_move(models, endpoint, tree):
    for version in ("v1", "v2"):
        models.register("moved", tree, version=version)
    models.alias("moved", "live", "v1")
    assert endpoint.invoke(SETOSA, model="moved@live").model == "moved/v1.tar.gz"
    models.alias("moved", "live", "v2")
    assert endpoint.invoke(SETOSA, model="moved@live").model == "moved/v2.tar.gz"
    models.rollback("moved", "live")
    assert endpoint.invoke(SETOSA, model="moved@live").model == "moved/v1.tar.gz"


def test_a_canary_is_sticky_by_the_callers_key(models, endpoint, tree):
    for version in ("v1", "v2"):
        models.register("split", tree, version=version)
    models.alias("split", "live", {"v1": 0.5, "v2": 0.5})
    answered = {
        key: {endpoint.invoke(SETOSA, model="split@live", sticky=key).model for _ in range(5)}
        for key in map(str, range(12))
    }
    assert all(len(seen) == 1 for seen in answered.values())
    assert len(set.union(*answered.values())) == 2


def test_an_unknown_alias_is_told(endpoint):
    with pytest.raises(errors.ModelNotFoundError, match="alias"):
        endpoint.invoke(SETOSA, model="nobody@live")


def test_the_async_twin_refuses_and_resolves_alike(local, models, endpoint, tree):
    async def job():
        async with local.async_client() as client:
            theirs = client.models(models.uri)
            twin = await theirs.register("twin", tree, version="v1")
            await theirs.alias("twin", "live", "v1")
            handle = await client.endpoints.get(endpoint.name)
            reply = await handle.invoke(SETOSA, model="twin@live", sticky="me")
            await theirs.unalias("twin", "live")
            await theirs.delete("twin", "v1")
            with pytest.raises(errors.ModelNotFoundError, match="was deleted"):
                await handle.invoke(SETOSA, model=twin)
            return reply.model

    assert asyncio.run(job()) == "twin/v1.tar.gz"


def test_invoking_needs_no_right_to_read_the_registry(local, models, endpoint, tree):
    readable = models.register("readable", tree, version="v1")
    nowhere = {**local.endpoint_urls, "s3": "http://127.0.0.1:9"}
    with MMEClient(session=local.session(), endpoint_url=nowhere, retry=RetryPolicy(fault_attempts=1)) as client:
        client.models(models.uri)
        handle = client.endpoints.get(endpoint.name)
        assert handle.invoke(SETOSA, model=readable).json() == [0]

"""From a folder to an answer and back to nothing, through the client alone, in threads and on the event loop."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from mme_sdk import EndpointSpec, errors
from tests.support.journey.fixtures import ROLE

SETOSA = [[5.1, 3.5, 1.4, 0.2]]


def test_a_folder_becomes_an_answer(models, endpoint, tree):
    iris = models.register("iris", tree, version="v1")
    first = endpoint.invoke(SETOSA, model=iris)
    again = endpoint.invoke(SETOSA, model="iris/v1.tar.gz")
    assert first.json() == again.json()
    assert first.json() == [0]
    assert (first.model, first.endpoint, first.variant) == ("iris/v1.tar.gz", endpoint.name, "AllTraffic")
    assert first.request_id != again.request_id


def test_a_model_is_added_and_replaced_without_touching_the_endpoint(models, endpoint, tree, tmp_path):
    models.register("rose", tree, version="v1")
    before = endpoint.describe()
    endpoint.invoke(SETOSA, model="rose/v1.tar.gz")
    models.register("rose", tree / "model.skops", version="v2")
    assert endpoint.invoke(SETOSA, model="rose/v2.tar.gz").json() == [0]
    assert [str(one) for one in models.list() if one.name == "rose"] == ["rose/v1.tar.gz", "rose/v2.tar.gz"]
    assert endpoint.describe().config_name == before.config_name


def test_one_model_on_an_endpoint_of_its_own(client, fresh, spec, tree):
    iris = fresh.register("iris", tree, version="v1")
    alone = EndpointSpec.single_model(
        name=f"{spec.name}-alone", artifact=iris.uri, image="sklearn:1", role=ROLE, instance_type="ml.c6i.large"
    )
    endpoint = client.endpoints.create(alone, timeout=60)
    try:
        assert endpoint.invoke(SETOSA).json() == [0]
        with pytest.raises(errors.InvalidInputError, match="not a multi-model endpoint"):
            endpoint.invoke(SETOSA, model=iris)
    finally:
        endpoint.delete()


def test_deleting_leaves_no_endpoint_configuration_or_model(local, client, spec):
    client.endpoints.create(spec, timeout=60).delete()
    sagemaker = local.boto("sagemaker")
    try:
        assert spec.name not in str(sagemaker.list_endpoints())
        assert spec.name not in str(sagemaker.list_endpoint_configs())
        assert spec.name not in str(sagemaker.list_models())
    finally:
        sagemaker.close()
    with pytest.raises(errors.EndpointNotFoundError):
        client.endpoints.get(spec.name)


def test_one_client_serves_many_threads(models, endpoint, tree):
    versions = [models.register(f"iris-{number}", tree, version="v1") for number in range(4)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda number: endpoint.invoke(SETOSA, model=versions[number % 4]), range(64)))
    assert all(reply.json() == [0] for reply in replies)
    assert [reply.model for reply in replies] == [f"iris-{number % 4}/v1.tar.gz" for number in range(64)]


def test_the_async_twin_does_the_same_job(local, bucket, spec, tree):
    async def job():
        async with local.async_client() as client:
            models = client.models(f"s3://{bucket}/prod/")
            iris = await models.register("iris", tree, version="v1")
            endpoint = await client.endpoints.create(spec, timeout=60)
            replies = await asyncio.gather(*(endpoint.invoke(SETOSA, model=iris) for _ in range(16)))
            listed = [str(one) async for one in models.list()]
            await endpoint.delete()
            return [reply.json() for reply in replies], listed

    answers, listed = asyncio.run(job())
    assert answers == [[0]] * 16
    assert listed == ["iris/v1.tar.gz"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_client_survives_a_fork(models, endpoint, tree):
    iris = models.register("iris", tree, version="v1")
    endpoint.invoke(SETOSA, model=iris)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if endpoint.invoke(SETOSA, model=iris).json() is not None else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert endpoint.invoke(SETOSA, model=iris).attempts == 1


@pytest.mark.parametrize("transport", ["auto", "core", "botocore"])
def test_every_transport_does_the_job(local, models, endpoint, tree, transport):
    models.register("iris", tree, version="v1")
    with local.client(transport=transport) as client:
        reply = client.endpoint(endpoint.name).invoke(SETOSA, model="iris/v1.tar.gz")
        assert reply.json() == [0]
        assert client.transport.name == ("botocore" if transport == "botocore" else "fast")


def test_options_make_a_new_client_and_leave_the_old_one(client, local):
    other = client.with_options(timeouts=attrs.evolve(client.timeouts, deadline=1))
    try:
        assert (other.timeouts.deadline, client.timeouts.deadline) == (1, 360)
        assert list(other.endpoints.list(name_contains="no-such-name")) == []
    finally:
        other.close()


def test_nothing_is_sent_by_a_closed_client(local, models, endpoint):
    client = local.client()
    handle = client.endpoint(endpoint.name)
    client.close()
    client.close()
    with pytest.raises(errors.ClosedError):
        handle.invoke(SETOSA, model="iris/v1.tar.gz")
    with pytest.raises(errors.ClosedError):
        handle.describe()


def test_cloudwatch_tells_what_was_invoked(local, models, endpoint, tree):
    metered = models.register("metered", tree, version="v1")
    for _ in range(3):
        endpoint.invoke(SETOSA, model=metered)
    seen = endpoint.metrics(hours=1)
    assert sum(seen.invocations.values) >= 3

    async def twin():
        async with local.async_client() as client:
            return await client.endpoint(endpoint.name).metrics(hours=1)

    assert sum(asyncio.run(twin()).invocations.values) >= 3


def test_a_multi_model_endpoint_cannot_stream(endpoint):
    with pytest.raises(errors.InvalidInputError):
        endpoint.invoke_stream(SETOSA)

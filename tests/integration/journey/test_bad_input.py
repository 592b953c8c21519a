"""What users get wrong is reported clearly, as early as it can be known, and loses nothing."""

import socket

import pytest

from mme_sdk import EndpointSpec, MMEClient, errors
from mme_sdk.local import LocalSageMaker
from tests.support.journey.fixtures import ROLE

SETOSA = [[5.1, 3.5, 1.4, 0.2]]


def check(error, *, sent=False, fault="caller", words=()):
    assert error.sent is sent
    assert error.fault == fault
    for word in words:
        assert word in str(error)


def test_a_folder_without_a_model(fresh, tmp_path):
    with pytest.raises(errors.InvalidInputError) as caught:
        fresh.register("iris", tmp_path)
    check(caught.value, words=[str(tmp_path), "empty"])
    assert list(fresh.list()) == []


def test_a_path_that_is_not_there(models, tmp_path):
    with pytest.raises(errors.InvalidInputError) as caught:
        models.register("iris", tmp_path / "nothing")
    check(caught.value, words=["nothing"])


def test_a_broken_archive(fresh, tmp_path):
    broken = tmp_path / "model.tar.gz"
    broken.write_bytes(b"\x1f\x8b not really")
    with pytest.raises(errors.LayoutError) as caught:
        fresh.register("iris", broken)
    check(caught.value, words=["model.tar.gz"])
    assert list(fresh.list()) == []


@pytest.mark.parametrize("uri", ["s3://", "prod/models", "s3:///prod/"])
def test_a_prefix_without_a_bucket(client, uri):
    with pytest.raises(errors.InvalidInputError) as caught:
        client.models(uri)
    check(caught.value, words=["s3://bucket/prefix/"])


def test_a_bucket_that_is_not_there(client, tree):
    with pytest.raises(errors.BucketNotFoundError) as caught:
        client.models("s3://no-such-bucket-anywhere/prod/").register("iris", tree)
    check(caught.value, sent=True, words=["no-such-bucket-anywhere"])


@pytest.mark.parametrize("name", ["../evil", "/absolute", "", "a\nb", "x" * 1100, "a/../b"])
def test_model_names_that_no_endpoint_could_serve(fresh, tree, name):
    with pytest.raises(errors.InvalidInputError) as caught:
        fresh.register(name, tree)
    check(caught.value)
    assert list(fresh.list()) == []


def test_an_absent_endpoint(client):
    with pytest.raises(errors.EndpointNotFoundError) as caught:
        client.endpoint("nobody").invoke(SETOSA, model="iris/v1.tar.gz")
    check(caught.value, sent=True, words=["nobody"])
    assert caught.value.endpoint == "nobody"
    with pytest.raises(errors.EndpointNotFoundError):
        client.endpoints.get("nobody")


@pytest.mark.parametrize("name", ["x" * 64, "under_score", "-dash", ""])
def test_endpoint_names_that_sagemaker_refuses(client, name):
    with pytest.raises(errors.InvalidInputError) as caught:
        client.endpoint(name)
    check(caught.value, words=["name"])
    with pytest.raises(errors.InvalidInputError):
        EndpointSpec.multi_model(
            name=name, models="s3://ml-models/prod/", image="sklearn:1", role=ROLE, instance_type="ml.m5.large"
        )


def test_a_payload_over_the_limit(models, endpoint, tree):
    iris = models.register("iris", tree, version="v1")
    with pytest.raises(errors.PayloadTooLargeError) as caught:
        endpoint.invoke(bytes(27_000_000), model=iris)
    check(caught.value, words=["27,000,000", "26,214,400"])


@pytest.mark.parametrize("target", ["../evil.tar.gz", "", "/absolute.tar.gz", "x" * 1025, "a\r\nX-Evil: 1"])
def test_targets_that_no_endpoint_could_serve(endpoint, target):
    with pytest.raises(errors.InvalidInputError) as caught:
        endpoint.invoke(SETOSA, model=target)
    check(caught.value)


def test_a_model_that_is_not_there_is_told_with_its_neighbours(models, endpoint, tree):
    models.register("fraud", tree, version="v1")
    with pytest.raises(errors.ModelNotFoundError) as caught:
        endpoint.invoke(SETOSA, model="fruad/v1.tar.gz")
    check(caught.value, sent=True, words=["fruad/v1.tar.gz", "fraud/v1.tar.gz"])


def test_a_missing_target_on_a_multi_model_endpoint(endpoint):
    with pytest.raises(errors.InvalidInputError) as caught:
        endpoint.invoke(SETOSA)
    check(caught.value, sent=True, words=["target model"])


def test_a_payload_that_the_model_refuses(models, endpoint, tree):
    models.register("iris", tree, version="v1")
    with pytest.raises(errors.ModelError) as caught:
        endpoint.invoke({"instances": [["not", "a", "number"]]}, model="iris/v1.tar.gz")
    assert caught.value.model == "iris/v1.tar.gz"
    assert caught.value.original_message


def test_a_port_in_use_is_told_with_the_way_out():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(errors.ConfigurationError) as caught:
            LocalSageMaker(port=port).start()
    check(caught.value, fault="environment", words=[str(port), "port"])


def test_nobody_at_the_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    import boto3

    session = boto3.Session("key", "secret", region_name="us-east-1")
    with MMEClient(session=session, endpoint_url=f"http://127.0.0.1:{port}") as client:
        with pytest.raises(errors.NotSentError) as caught:
            client.endpoint("scoring").invoke(SETOSA, model="iris/v1.tar.gz", deadline=20)
        check(caught.value, fault="environment", words=[str(port)])


def test_no_credentials(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with MMEClient(region="us-east-1", endpoint_url="http://127.0.0.1:9") as client:
        with pytest.raises(errors.ConfigurationError, match="credentials"):
            client.endpoint("scoring").invoke(SETOSA, model="iris/v1.tar.gz")
        with pytest.raises(errors.ConfigurationError, match="credentials"):
            client.endpoints.list()


def test_the_wrong_keys_are_refused_and_never_shown(local, endpoint):
    import boto3

    session = boto3.Session(local.credentials.access_key, "hunter2-secret", region_name=local.region)
    with MMEClient(session=session, endpoint_url=local.endpoint_urls) as client:
        with pytest.raises(errors.AccessDeniedError) as caught:
            client.endpoint(endpoint.name).invoke(SETOSA, model="iris/v1.tar.gz")
        assert "hunter2" not in str(caught.value) + repr(caught.value) + repr(vars(caught.value)) + repr(client)

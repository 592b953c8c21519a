"""Prove the documents of `mme_sdk.endpoints.policies` on a host that evaluates them: with real containers and S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from botocore.exceptions import ClientError

from mme_sdk import EndpointSpec, MMEClient
from mme_sdk.endpoints import Autoscaling, Endpoint, policies
from mme_sdk.errors import AccessDeniedError, MMEError
from mme_sdk.local import ControlSettings, LocalSageMaker
from tests.support.local.helpers import MULTIPLY, settle

PREFIX = "s3://ml-models/prod/"
EXECUTION = "arn:aws:iam::123456789012:role/execution"


@pytest.fixture(scope="module")
def host() -> Iterator[LocalSageMaker]:
    control = ControlSettings(provisioning=0.02, scaling=0.02, deletion=0.02, wait_scale=0.001)
    with LocalSageMaker(iam=True, control=control) as host:
        host.boto("s3").create_bucket(Bucket="ml-models")
        yield host


@pytest.fixture(scope="module")
def client_of(host) -> Iterator[Callable[..., MMEClient]]:
    """Return a function that creates a user with policies and returns a client with its keys."""
    with ExitStack() as opened:

        def make(name: str, *documents) -> MMEClient:
            session = host.session(host.iam.add_user(name, *documents))
            return opened.enter_context(MMEClient(session=session, endpoint_url=host.endpoint_urls))

        yield make


@pytest.fixture(scope="module")
def publisher(client_of) -> MMEClient:
    return client_of("publisher", policies.registry(PREFIX, write=True))


@pytest.fixture(scope="module")
def endpoint(host, client_of, publisher, tmp_path_factory) -> Endpoint:
    """An endpoint with the models `team_a/two` and `team_b/three`, which a user with `policies.deployer` deploys."""
    for name, factor in (("team_a/two", 2), ("team_b/three", 3)):
        folder = tmp_path_factory.mktemp("model")
        (folder / "code").mkdir()
        (folder / "code" / "inference.py").write_text(MULTIPLY.format(factor=factor))
        publisher.models(PREFIX).register(name, folder)
    role = host.iam.add_role("execution", policies.execution_role(PREFIX))
    client = client_of("deployer", policies.deployer(role, names="scoring*", autoscaling=True))
    return created(host, client, spec(role))


def created(host: LocalSageMaker, client: MMEClient, wanted: EndpointSpec) -> Endpoint:
    """Create an endpoint and wait until it is in service. The waits of the client last seconds."""
    made = client.endpoints.create(wanted, wait=False)
    assert settle(host.boto("sagemaker"), wanted.name)[-1]["EndpointStatus"] == "InService"
    return made


def spec(role: str, name: str = "scoring") -> EndpointSpec:
    return EndpointSpec.multi_model(name=name, models=PREFIX, image="sklearn:1", role=role, instance_type="ml.m5.large")


def key_of(publisher: MMEClient, name: str) -> str:
    return next(one.target_model for one in publisher.models(PREFIX).list(name))


def test_a_tenant_reaches_its_own_models_alone(endpoint, client_of, publisher):
    tenant = client_of("tenant", policies.invoker("scoring", target_models=["team_a/*"]))
    own, neighbours = key_of(publisher, "team_a/two"), key_of(publisher, "team_b/three")
    scoring = tenant.endpoint("scoring")
    assert scoring.invoke([1, 2], model=own).value == [2, 4]
    assert [one.value for one in scoring.invoke_many([[1], [2]], model_of=lambda _: own)] == [[2], [4]]
    scoring.warm([own])
    for refused in (
        lambda: scoring.invoke([1], model=neighbours),
        lambda: scoring.invoke_stream([1]),
        lambda: tenant.endpoint("other").invoke([1], model=own),
        scoring.describe,
        lambda: scoring.scale(2),
        scoring.delete,
        lambda: list(tenant.models(PREFIX).list()),
    ):
        with pytest.raises(AccessDeniedError, match="User: arn:aws:iam::123456789012:user/tenant is not authorized"):
            refused()


def test_a_reader_of_the_registry_uses_aliases_and_changes_nothing(endpoint, client_of, publisher, tmp_path):
    publisher.models(PREFIX).alias("team_a/two", "live", next(publisher.models(PREFIX).list("team_a/two")))
    reader = client_of("reader", policies.registry(PREFIX), policies.invoker("scoring"))
    models = reader.models(PREFIX)
    assert {one.name for one in models.list()} == {"team_a/two", "team_b/three"}
    assert reader.endpoint("scoring").invoke([4], model=models.resolve("team_a/two@live")).value == [8]
    (tmp_path / "model.txt").write_text("x")
    for refused in (
        lambda: models.register("team_a/new", tmp_path),
        lambda: models.delete("team_a/two", force=True),
        lambda: models.alias("team_a/two", "next", next(models.list("team_a/two"))),
        lambda: reader.models("s3://ml-models/other/").register("a", tmp_path),
    ):
        with pytest.raises(AccessDeniedError, match="user/reader is not authorized"):
            refused()


def test_a_publisher_registers_copies_and_deletes_below_its_prefix_alone(endpoint, publisher, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(MULTIPLY.format(factor=5))
    models = publisher.models(PREFIX)
    made = models.register("team_c/five", tmp_path)
    models.alias("team_c/five", "live", made.version)
    models.copy(f"{models.uri}copies/", "team_c/five")
    models.unalias("team_c/five", "live")
    models.delete("team_c/five")
    models.abort_uploads()
    assert "team_c/five" not in {one.name for one in models.list()}
    with pytest.raises(AccessDeniedError, match="user/publisher is not authorized"):
        publisher.models("s3://ml-models/other/").register("a", tmp_path)
    with pytest.raises(AccessDeniedError, match="sagemaker:InvokeEndpoint"):
        publisher.endpoint("scoring").invoke([1], model="team_a/two")


def test_a_deployer_uses_every_operation_of_its_own_endpoints(endpoint, client_of, host):
    assert endpoint.describe().status == "InService"
    endpoint.scale(2)
    settle(host.boto("sagemaker"), "scoring")
    endpoint.autoscale(Autoscaling(min=1, max=2, target=10))
    endpoint.autoscale(None)
    endpoint.metrics(hours=1)
    client = client_of("second", policies.deployer(EXECUTION, names="scoring*"))
    second = created(host, client, spec(EXECUTION, "scoring-2"))
    assert {one.name for one in client.endpoints.list()} == {"scoring", "scoring-2"}
    second.weights({"AllTraffic": 2.0})
    second.delete()
    other = host.iam.add_role("other", policies.execution_role(PREFIX))
    with pytest.raises(AccessDeniedError, match="not authorized to perform: iam:PassRole"):
        client.endpoints.create(spec(other, "scoring-3"))
    with pytest.raises(AccessDeniedError, match="not authorized to perform: sagemaker:DescribeEndpoint"):
        client.endpoints.create(spec(EXECUTION, "ranking"))
    with pytest.raises(AccessDeniedError, match="not authorized to perform: sagemaker:InvokeEndpoint"):
        endpoint.invoke([1], model="team_a/two")


def test_the_execution_role_decides_what_a_container_can_download(host, client_of, publisher, endpoint):
    outside = host.iam.add_role("outside", policies.execution_role("s3://ml-models/elsewhere/"))
    blind = policies.execution_role(PREFIX)
    blind["Statement"] = [one for one in blind["Statement"] if one["Sid"] != "SeeMissingModels"]
    blind_role = host.iam.add_role("blind", blind)
    key = key_of(publisher, "team_a/two")
    with host.client() as client:
        denied = created(host, client, spec(outside, "outside"))
        with pytest.raises(MMEError, match="no policy of arn:aws:iam::123456789012:role/outside allows s3:GetObject"):
            denied.invoke([1], model=key)
        cannot_list = created(host, client, spec(blind_role, "blind"))
        assert cannot_list.invoke([1], model=key).value == [2]
        runtime = host.boto("sagemaker-runtime")
        with pytest.raises(ClientError, match="no policy of arn:aws:iam::123456789012:role/blind allows s3:ListBucket"):
            runtime.invoke_endpoint(EndpointName="blind", TargetModel="team_a/none.tar.gz", Body=b"[1]")
        with pytest.raises(MMEError, match="Could not assume role"):
            client.endpoints.create(spec("arn:aws:iam::123456789012:role/absent", "absent"))

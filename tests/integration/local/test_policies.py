"""Prove the documents of `mme_sdk.endpoints.policies` on a host that evaluates them: with real containers and S3."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import attrs
import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from mme_sdk import EndpointSpec, MMEClient
from mme_sdk.endpoints import Autoscaling, Endpoint, policies
from mme_sdk.errors import AccessDeniedError, InvalidInputError, MMEError
from mme_sdk.local import ControlSettings, LocalCredentials, LocalSageMaker
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
    publisher.models(PREFIX).alias("team_a/two", "live", publisher.models(PREFIX).list("team_a/two")[0])
    reader = client_of("reader", policies.registry(PREFIX), policies.invoker("scoring"))
    models = reader.models(PREFIX)
    assert {one.name for one in models.list()} == {"team_a/two", "team_b/three"}
    assert reader.endpoint("scoring").invoke([4], model=models.resolve("team_a/two@live")).value == [8]
    (tmp_path / "model.txt").write_text("x")
    for refused in (
        lambda: models.register("team_a/new", tmp_path),
        lambda: models.delete("team_a/two", force=True),
        lambda: models.alias("team_a/two", "next", models.list("team_a/two")[0]),
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
    denied = [one for one in endpoint.diagnose(1).missing if "not authorized" in one]
    assert [one.partition(":")[0] for one in denied] == ["models of s3"]  # that is for `policies.registry`
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
            client.endpoints.create(spec("arn:aws:iam::123456789012:role/absent", "absent"), check=False)


@pytest.mark.parametrize("form", ["archive", "files"])
def test_an_endpoint_whose_role_may_not_read_its_model_fails(host, endpoint, publisher, form):
    listing = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::ml-models"}
    role = host.iam.add_role(f"lists-{form}", {"Version": "2012-10-17", "Statement": [listing]})
    key = key_of(publisher, "team_a/two")
    if form == "archive":
        data, object_key = {"ModelDataUrl": f"{PREFIX}{key}"}, f"prod/{key}"
    else:
        object_key = "tree/code/inference.py"
        host.boto("s3").put_object(Bucket="ml-models", Key=object_key, Body=MULTIPLY.format(factor=2).encode())
        source = {"S3Uri": "s3://ml-models/tree/", "S3DataType": "S3Prefix", "CompressionType": "None"}
        data = {"ModelDataSource": {"S3DataSource": source}}
    sagemaker, name = host.boto("sagemaker"), f"unread-{form}"
    container = {"Image": "sklearn:1", **data}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container)
    variant = {"VariantName": "A", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    failed = settle(sagemaker, name)[-1]
    assert failed["EndpointStatus"] == "Failed"
    assert f"no policy of {role} allows s3:GetObject on arn:aws:s3:::ml-models/{object_key}" in failed["FailureReason"]


def document(*statements: dict) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def service(host: LocalSageMaker, keys: LocalCredentials, name: str):
    return host.session(keys).client(name, endpoint_url=host.endpoint_url)


def test_a_role_is_assumed_for_a_session_with_a_policy_and_tags(host, endpoint, publisher):
    iam, sts = host.boto("iam"), host.boto("sts")
    models = {"StringLike": {"sagemaker:TargetModel": "${aws:PrincipalTag/team}/*"}}
    policy = iam.create_policy(
        PolicyName="own-models",
        PolicyDocument=document(
            {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": "*", "Condition": models},
            {"Effect": "Allow", "Action": "sagemaker:DescribeEndpoint", "Resource": "*"},
        ),
    )["Policy"]["Arn"]
    root = {"AWS": "arn:aws:iam::123456789012:root"}
    trust = {"Effect": "Allow", "Principal": root, "Action": ["sts:AssumeRole", "sts:TagSession"]}
    role = host.iam.add_role("tenants", trust={"Version": "2012-10-17", "Statement": [trust]})
    iam.attach_role_policy(RoleName="tenants", PolicyArn=policy)
    assert iam.list_attached_role_policies(RoleName="tenants")["AttachedPolicies"][0]["PolicyArn"] == policy

    def session(**more) -> LocalCredentials:
        tags = [{"Key": "team", "Value": "team_a"}]
        made = sts.assume_role(RoleArn=role, RoleSessionName="job", Tags=tags, **more)["Credentials"]
        return LocalCredentials(
            access_key=made["AccessKeyId"], secret_key=made["SecretAccessKey"], session_token=made["SessionToken"]
        )

    keys = session()
    runtime, sagemaker = service(host, keys, "sagemaker-runtime"), service(host, keys, "sagemaker")
    own = {"EndpointName": "scoring", "TargetModel": key_of(publisher, "team_a/two"), "Body": b"[1]"}
    assert runtime.invoke_endpoint(**own)["Body"].read() == b"[2]"
    assert sagemaker.describe_endpoint(EndpointName="scoring")
    with pytest.raises(ClientError, match="assumed-role/tenants/job is not authorized") as caught:
        runtime.invoke_endpoint(**own | {"TargetModel": key_of(publisher, "team_b/three")})
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert service(host, keys, "sts").get_caller_identity()["Arn"].endswith(":assumed-role/tenants/job")

    less = session(Policy=document({"Effect": "Allow", "Action": "sagemaker:Invoke*", "Resource": "*"}))
    with pytest.raises(ClientError, match="because no session policy allows the sagemaker:DescribeEndpoint action"):
        service(host, less, "sagemaker").describe_endpoint(EndpointName="scoring")
    for token in (None, "another"):
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            service(host, attrs.evolve(keys, session_token=token), "sagemaker").list_models()
    user = service(host, host.iam.add_user("outsider"), "sts")
    with pytest.raises(ClientError, match="user/outsider is not authorized to perform: sts:AssumeRole on resource"):
        user.assume_role(RoleArn=role, RoleSessionName="job")
    iam.detach_role_policy(RoleName="tenants", PolicyArn=policy)
    with pytest.raises(ClientError, match="because no identity-based policy allows"):
        runtime.invoke_endpoint(**own)
    iam.delete_role(RoleName="tenants")
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        sagemaker.list_models()


def test_conditions_on_tags_and_explicit_denies(host):
    team = {"StringEquals": {"aws:RequestTag/team": "a"}}
    own = {"StringEqualsIfExists": {"aws:ResourceTag/team": "a"}}
    create = ["sagemaker:CreateModel", "sagemaker:AddTags"]
    keys = host.iam.add_user(
        "tagger",
        json.loads(
            document(
                {"Effect": "Allow", "Action": create, "Resource": "*", "Condition": team},
                {"Effect": "Allow", "Action": ["sagemaker:D*", "iam:PassRole"], "Resource": "*", "Condition": own},
                {"Effect": "Deny", "Action": "sagemaker:*", "Resource": "arn:aws:sagemaker:*:*:model/prod-*"},
            )
        ),
    )
    role = host.iam.add_role("of-tagger")
    client, owner = service(host, keys, "sagemaker"), host.boto("sagemaker")
    model = {"ExecutionRoleArn": role, "PrimaryContainer": {"Image": "x"}}
    tags = [{"Key": "team", "Value": "a"}]
    client.create_model(ModelName="mine", Tags=tags, **model)
    owner.create_model(ModelName="theirs", Tags=[{"Key": "team", "Value": "b"}], **model)
    assert client.describe_model(ModelName="mine")
    client.delete_model(ModelName="mine")
    for refused, reason in (
        (lambda: client.create_model(ModelName="other", **model), "sagemaker:CreateModel on resource"),
        (
            lambda: client.delete_model(ModelName="theirs"),
            "no identity-based policy allows the sagemaker:DeleteModel",
        ),
        (
            lambda: client.create_model(ModelName="prod-1", Tags=tags, **model),
            "model/prod-1 with an explicit deny in an identity-based policy",
        ),
        (lambda: service(host, keys, "iam").create_user(UserName="more"), r"iam:CreateUser on resource: arn:aws:iam"),
        (lambda: service(host, keys, "cloudwatch").describe_alarms(), "cloudwatch:DescribeAlarms on resource"),
    ):
        with pytest.raises(ClientError, match=reason):
            refused()


def test_simulation_answers_from_the_same_policies(host):
    host.iam.add_user("simulated", policies.invoker("scoring", target_models=["team_a/*"]))
    endpoint = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/scoring"

    def decision(model: str, arn: str = endpoint) -> str:
        entry = {"ContextKeyName": "sagemaker:TargetModel", "ContextKeyValues": [model], "ContextKeyType": "string"}
        answer = host.boto("iam").simulate_principal_policy(
            PolicySourceArn="arn:aws:iam::123456789012:user/simulated",
            ActionNames=["sagemaker:InvokeEndpoint"],
            ResourceArns=[arn],
            ContextEntries=[entry],
        )
        return answer["EvaluationResults"][0]["EvalDecision"]

    assert decision("team_a/x") == "allowed"
    assert decision("team_b/x") == "implicitDeny"
    assert decision("team_a/x", endpoint.replace("scoring", "other")) == "implicitDeny"
    with pytest.raises(ClientError, match="NoSuchEntity"):
        host.boto("iam").simulate_principal_policy(
            PolicySourceArn="arn:aws:iam::123456789012:user/nobody", ActionNames=["s3:GetObject"]
        )


def test_what_iam_refuses(host, client_of):
    iam = host.boto("iam")
    keys = host.iam.add_user("full")
    own = service(host, keys, "iam")
    iam.create_access_key(UserName="full")
    managed = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
    for call, code in (
        (lambda: iam.create_user(UserName="FULL"), "EntityAlreadyExists"),
        (lambda: iam.create_access_key(UserName="full"), "LimitExceeded"),
        (lambda: iam.delete_user(UserName="full"), "DeleteConflict"),
        (lambda: iam.get_user(UserName="nobody"), "NoSuchEntity"),
        (lambda: iam.attach_user_policy(UserName="full", PolicyArn=managed), "no policies that AWS manages"),
        (lambda: iam.put_user_policy(UserName="full", PolicyName="p", PolicyDocument="{}"), "MalformedPolicyDocument"),
        (lambda: iam.create_user(UserName="x", PermissionsBoundary=managed), "this host has no permissions boundaries"),
        (lambda: own.get_user(), "AccessDenied"),
    ):
        with pytest.raises(ClientError, match=code):
            call()
    with pytest.raises(InvalidInputError, match="cannot create the user 'bad': Resource x must be in ARN format"):
        host.iam.add_user("bad", {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "x"}]})
    with pytest.raises(ClientError, match="NoSuchEntity"):
        iam.get_user(UserName="bad")
    assert "full" in [one["UserName"] for one in iam.list_users()["Users"]]
    iam.delete_access_key(UserName="full", AccessKeyId=keys.access_key)
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        own.get_user()
    request = AWSRequest(method="DELETE", url=f"{host.endpoint_url}/_mme/faults")
    stranger = host.iam.add_user("stranger")
    SigV4Auth(Credentials(stranger.access_key, stranger.secret_key), "sagemaker", host.region).add_auth(request)
    answer = urllib3.request("DELETE", request.url, headers=dict(request.headers))
    assert (answer.status, answer.json()["message"]) == (403, "only the keys of the host may change its faults")

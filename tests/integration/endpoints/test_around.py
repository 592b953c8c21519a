"""What surrounds an endpoint's life: migration, orphans, preflight, policies."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import attrs
import pytest

from mme_sdk.aws import Aws, Call
from mme_sdk.endpoints import AsyncEndpoints, Autoscaling, DataCapture, Endpoints, Rolling, policies
from mme_sdk.endpoints.operations import preflight
from mme_sdk.endpoints.state.typed_fields import spec_of_config
from mme_sdk.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidInputError,
    MMEError,
    ModelNotFoundError,
    QuotaExceededError,
)
from mme_sdk.local import Fault
from mme_sdk.types import ModelVersion
from tests.support.endpoints.fixtures import bound
from tests.support.endpoints.helpers import IMAGE, NOTHING, ROLE, Awaited, NoInvoker, multi, resources, single

ROLE_NAME = "sagemaker-execution"


@pytest.fixture
def stored(plane, way, bucket_name):
    """A bucket with one archive."""
    s3 = way.client("s3")
    s3.create_bucket(Bucket=bucket_name)
    s3.put_object(Bucket=bucket_name, Key="single/fraud.tar.gz", Body=b"archive")
    return bucket_name


def keys(way, bucket):
    return [one["Key"] for one in way.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_single_becomes_multi_with_its_archive_under_the_prefix_and_back(collection, way, name, stored):
    collection.apply(single(name, artifact=f"s3://{stored}/single/fraud.tar.gz"), timeout=60)
    handle = collection.to_multi_model(name, f"s3://{stored}/prod", target_model="fraud/v1.tar.gz", timeout=60)
    seen = handle.describe()
    assert (seen.mode, seen.model_data) == ("MultiModel", f"s3://{stored}/prod/")
    assert keys(way, stored) == ["prod/fraud/v1.tar.gz", "single/fraud.tar.gz"]
    with pytest.raises(InvalidInputError, match="already a multi-model endpoint"):
        collection.to_multi_model(name, f"s3://{stored}/prod/")

    with pytest.raises(ModelNotFoundError, match=r"prod/fraud/v2\.tar\.gz"):
        collection.to_single_model(name, "fraud/v2.tar.gz")
    version = ModelVersion(name="fraud", version="v1", target_model="fraud/v1.tar.gz", uri="")
    seen = collection.to_single_model(name, version, instance_type="ml.g5.12xlarge", timeout=60).describe()
    assert (seen.mode, seen.model_data) == ("SingleModel", f"s3://{stored}/prod/fraud/v1.tar.gz")
    assert seen.variants[0].instance_type == "ml.g5.12xlarge"
    with pytest.raises(InvalidInputError, match="already a single-model endpoint"):
        collection.to_single_model(name, "fraud/v1.tar.gz")
    with pytest.raises(InvalidInputError, match="cannot host a multi-model endpoint"):
        collection.to_multi_model(name, f"s3://{stored}/prod/")


def test_a_prefix_without_its_slash_is_left_behind_by_a_migration(collection, aws, way, name, stored):
    way.client("s3").put_object(Bucket=stored, Key="prod/fraud.tar.gz", Body=b"archive")
    client, body = aws.client("sagemaker"), multi(name, models=f"s3://{stored}/prod/").to_requests()
    container = body.models[0]["PrimaryContainer"] | {"ModelDataUrl": f"s3://{stored}/prod"}
    client.create_model(ModelName="by-hand", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = body.config["ProductionVariants"][0] | {"ModelName": "by-hand"}
    client.create_endpoint_config(EndpointConfigName="by-hand", ProductionVariants=[variant])
    client.create_endpoint(EndpointName=name, EndpointConfigName="by-hand")
    collection.wait(name, timeout=60)
    seen = collection.to_single_model(name, "fraud.tar.gz", timeout=60).describe()
    assert (seen.mode, seen.model_data) == ("SingleModel", f"s3://{stored}/prod/fraud.tar.gz")


def test_migration_never_replaces_an_archive(collection, way, name, stored):
    way.client("s3").put_object(Bucket=stored, Key="prod/fraud.tar.gz", Body=b"another archive")
    collection.apply(single(name, artifact=f"s3://{stored}/single/fraud.tar.gz"), timeout=60)
    with pytest.raises(ConflictError, match="is another archive"):
        collection.to_multi_model(name, f"s3://{stored}/prod/")
    assert way.client("s3").get_object(Bucket=stored, Key="prod/fraud.tar.gz")["Body"].read() == b"another archive"
    assert collection.describe(name).mode == "SingleModel"
    # The same archive is there already: nothing to copy, nothing in the way.
    way.client("s3").put_object(Bucket=stored, Key="again/fraud.tar.gz", Body=b"archive")
    assert collection.to_multi_model(name, f"s3://{stored}/again/", timeout=60).describe().mode == "MultiModel"


def test_migration_refuses_what_it_cannot_carry(collection, name, stored):
    collection.apply(single(name, artifact=None), timeout=60)
    with pytest.raises(InvalidInputError, match="has no archive to copy"):
        collection.to_multi_model(name, f"s3://{stored}/prod/")
    kmeans = "382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1"
    collection.apply(single(name, artifact=f"s3://{stored}/single/fraud.tar.gz", image=kmeans), timeout=60)
    with pytest.raises(InvalidInputError, match="kmeans:1 does not support multi-model endpoints"):
        collection.to_multi_model(name, f"s3://{stored}/prod/")


def test_orphans_are_found_and_removed_and_nothing_else(collection, aws, name):
    collection.apply(multi(name), timeout=60)
    collection.apply(multi(name, environment={"A": "1"}), timeout=60)  # the first one is kept for rollback
    used = resources(aws)
    client = aws.client("sagemaker")
    requests = multi("left-behind").to_requests()
    client.create_model(**requests.models[0])
    client.create_endpoint_config(**requests.config)
    client.create_model(**(requests.models[0] | {"ModelName": "by-hand"}))  # the mark alone does not make it ours
    found = collection.orphans()
    assert [(one.kind, one.name, one.made_for) for one in found] == [
        ("config", requests.config_name, "left-behind"),
        ("model", requests.model_names[0], "left-behind"),
        ("model", "by-hand", None),
    ]
    with pytest.raises(InvalidInputError, match="must come from endpoints"):
        collection.remove_orphans(["by-hand"])
    adopted = requests.config | {"EndpointConfigName": "adopted"}
    client.create_endpoint_config(**adopted)
    client.create_endpoint(EndpointName="adopting", EndpointConfigName="adopted")
    assert [one.name for one in collection.remove_orphans(found)] == [requests.config_name]
    collection.delete("adopting", timeout=60)
    # The model stays for as long as a configuration that a person made names it.
    assert collection.remove_orphans(collection.orphans()) == ()
    assert {one.name for one in collection.remove_orphans(names=["adopted", "by-hand"])} == {"adopted", "by-hand"}
    assert [one.name for one in collection.remove_orphans(collection.orphans())] == [requests.model_names[0]]
    assert resources(aws) == used


def test_long_lists_are_read_to_their_end(collection, aws):
    client = aws.client("sagemaker")
    model = multi("many").to_requests().models[0]
    for number in range(105):
        client.create_model(**(model | {"ModelName": f"model-{number}"}))
    found = collection.orphans()
    assert len({one.name for one in found}) == len(found) == 105
    assert collection.remove_orphans(found) == ()
    assert len(collection.remove_orphans(names=[one.name for one in found])) == 105


class Telling(Aws):
    """Answers for the services that the embedded SageMaker does not have."""

    answers: dict[str, Any] = {}

    def send(self, call: Call) -> Any:
        if call.service not in ("iam", "ecr", "service-quotas"):
            return super().send(call)
        answer = self.answers[call.operation]
        if isinstance(answer, MMEError):
            raise answer
        return answer


LISTS = {"kind": "error", "code": "AccessDeniedException", "status": 400, "message": "no lists for you"}


def test_who_may_not_list_deletes_what_is_in_use_and_is_told_of_the_rest(collection, aws, plane, name):
    collection.apply(multi(name), timeout=60)
    plane.faults.add(Fault(operation="ListEndpointConfigs", **LISTS))
    done = collection.delete(name, timeout=60)
    assert [one.kind for one in done.removed] == ["endpoint", "config", "model"]
    assert "earlier ones may remain" in str(done)
    plane.faults.clear()
    assert resources(aws) == NOTHING


def test_who_may_not_tidy_up_updates_all_the_same(collection, plane, name, caplog):
    collection.apply(multi(name), timeout=60)
    plane.faults.add(Fault(operation="ListModels", **LISTS))
    changed = multi(name, environment={"A": "1"})
    assert collection.apply(changed, timeout=60).describe().config_name == changed.to_requests().config_name
    assert f"earlier configurations of endpoint {name} were not removed" in caplog.text


class Spying(Aws):
    """Remembers the requests of an operation."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[dict[str, Any]] = []

    def send(self, call: Call) -> Any:
        if call.operation == "update_endpoint":
            self.seen.append(call.params)
        return super().send(call)


def test_an_update_keeps_what_it_must_and_no_more(plane, aws, name):
    way = bound(plane, Spying)
    collection = Endpoints(way, NoInvoker)
    capture = DataCapture(destination="s3://ml-models/captured/")
    collection.apply(single(name), timeout=60)
    collection.apply(single(name, environment={"A": "1"}), timeout=60)
    collection.apply(single(name, environment={"A": "1"}, data_capture=capture, instance_count=3), timeout=60)
    collection.apply(single(name, data_capture=capture, instance_count=3), deployment=Rolling(batch=20), timeout=60)
    assert [one["RetainAllVariantProperties"] for one in way.seen] == [True] * 3
    excluded = [one.get("ExcludeRetainedVariantProperties") for one in way.seen]
    assert excluded == [None, [{"VariantPropertyType": "DataCaptureConfig"}], None]
    assert [sorted(one.get("DeploymentConfig", {})) for one in way.seen] == [[], [], ["RollingUpdatePolicy"]]
    # The count was said anew together with a new fleet: it is kept over the switch, then changed.
    assert collection.describe(name).variants[0].desired_count == 3
    way.close()


class Mixed(Aws):
    """An endpoint whose rollback failed: two configurations serve."""

    mixed = True

    def send(self, call: Call) -> Any:
        answer = super().send(call)
        if call.operation == "describe_endpoint" and self.mixed:
            answer["EndpointStatus"] = "UpdateRollbackFailed"
        self.mixed = self.mixed and call.operation != "update_endpoint"
        return answer


def test_a_failed_rollback_is_ended_by_another_update(plane, aws, name):
    Endpoints(aws, NoInvoker).apply(multi(name), timeout=60)
    way = bound(plane, Mixed)
    collection = Endpoints(way, NoInvoker)
    assert (collection.plan(multi(name)).action, collection.plan(multi(name)).changes) == ("update", ())
    assert "InService" in repr(collection.apply(multi(name), timeout=60))
    way.close()


def test_inference_components_have_no_spec():
    config = {"ProductionVariants": [{"VariantName": "A", "InstanceType": "ml.m5.large"}]}
    with pytest.raises(InvalidInputError, match="variant A hosts inference components"):
        spec_of_config("scoring", config, {}, {})


TRUSTING = {"Role": {"AssumeRolePolicyDocument": policies.trust()}}
GOOD = {
    "get_role": TRUSTING,
    "describe_images": {},
    "list_service_quotas": {"Quotas": [{"QuotaName": "ml.m5.xlarge for endpoint usage", "Value": 4.0}]},
}


@pytest.fixture(params=["sync", "async"])
def telling(request, plane, aws):
    way = bound(plane, Telling)
    way.answers = dict(GOOD)
    with asyncio.Runner() as runner:
        collection = (
            Endpoints(way, NoInvoker) if request.param == "sync" else Awaited(AsyncEndpoints(way, NoInvoker), runner)
        )
        yield collection, way.answers
    way.close()


def verdicts(report):
    return {one.subject.partition(" ")[0]: one.verdict for one in report.findings}


def test_preflight_of_what_would_come_up(telling, name, stored):
    collection, _ = telling
    report = collection.preflight(multi(name, models=f"s3://{stored}/single/"))
    assert verdicts(report) == dict.fromkeys(("name", "role", "models", "image", "quota"), "ok")
    assert "archives found: 1" in str(report)
    report.check()
    assert collection.preflight(
        single(name, artifact=f"s3://{stored}/single/fraud.tar.gz", instance_type="ml.m5.xlarge")
    ).ok


def test_create_checks_first_what_the_spec_refers_to(telling, name, stored, caplog, monkeypatch):
    monkeypatch.setattr(preflight, "QUICK", 60.0)  # a busy machine takes more than a second
    collection, answers = telling
    spec = multi(name, models=f"s3://{stored}-absent/")
    with pytest.raises(InvalidInputError, match=rf"would fail:\n  models s3://{stored}-absent/: ") as caught:
        collection.create(spec, timeout=60)
    assert caught.value.sent is False
    answers["describe_images"] = MMEError("no such image", code="ImageNotFoundException")
    with pytest.raises(InvalidInputError, match=r"image .*: no such image"):
        collection.create(multi(name, models=f"s3://{stored}/single/"), timeout=60)
    assert collection.list() == []
    denied = AccessDeniedError("not for you")
    answers |= {"get_role": denied, "describe_images": denied, "list_service_quotas": denied}
    collection.create(multi(name, models=f"s3://{stored}/nothing/"), timeout=60)
    assert "s3://" in caplog.text
    assert "has no archive yet" in caplog.text
    collection.create(multi(name, models=f"s3://{stored}/nothing/"), timeout=60)  # it exists: nothing is checked
    collection.delete(name, timeout=60)
    created = collection.create(spec, check=False, wait=False)
    assert created.name == name


def test_preflight_says_everything_that_is_wrong(telling, name, stored):
    collection, answers = telling
    collection.apply(multi(name), timeout=60)
    answers["get_role"] = {"Role": {"AssumeRolePolicyDocument": "{}"}}
    answers["describe_images"] = MMEError("no such image", code="ImageNotFoundException")
    report = collection.preflight(multi(name, models=f"s3://{stored}-absent/", autoscaling=Autoscaling(min=2, max=5)))
    assert verdicts(report) == dict.fromkeys(("name", "role", "models", "image", "quota"), "failed")
    with pytest.raises(InvalidInputError, match="creation of this endpoint would fail") as caught:
        report.check()
    assert len(caught.value.message.splitlines()) == 6
    assert not report.ok


def test_preflight_that_finds_nothing_but_a_quota_in_the_way_says_so_by_the_kind(telling, name, stored):
    collection, _ = telling
    report = collection.preflight(multi(name, models=f"s3://{stored}/single/", instance_count=5))
    with pytest.raises(QuotaExceededError, match="the account may use 4, the endpoint begins with 5") as caught:
        report.check()
    assert caught.value.sent is False
    assert "Service Quotas" in (caught.value.hint or "")


def test_preflight_of_a_missing_archive_another_region_and_no_role(telling, name, stored):
    collection, answers = telling
    answers["get_role"] = MMEError("not found", code="NoSuchEntity")
    elsewhere = IMAGE.replace("us-east-1", "eu-west-1")
    report = collection.preflight(single(name, artifact=f"s3://{stored}/no.tar.gz", image=elsewhere))
    assert {key: verdicts(report)[key] for key in ("role", "models", "image")} == dict.fromkeys(
        ("role", "models", "image"), "failed"
    )
    assert "it is in eu-west-1, the endpoint would be in us-east-1" in str(report)


def test_preflight_does_not_fail_for_what_it_may_not_see(telling, name, stored):
    collection, answers = telling
    for operation in answers:
        answers[operation] = AccessDeniedError("not for you")
    report = collection.preflight(multi(name, models=f"s3://{stored}/empty/"))
    assert verdicts(report) == {"name": "ok", "role": "unknown", "models": "ok", "image": "unknown", "quota": "unknown"}
    assert report.ok
    prebuilt = attrs.evolve(
        multi(
            name,
            models=f"s3://{stored}/empty/",
            image="683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
        )
    )
    assert verdicts(collection.preflight(prebuilt))["image"] == "ok"


def statement(document, sid):
    return next(one for one in document["Statement"] if one["Sid"] == sid)


def test_the_execution_role_reads_its_prefix_and_lists_only_it():
    document = policies.execution_role("s3://ml-models/prod", image=IMAGE, vpc=True)
    assert statement(document, "ReadModels")["Resource"] == "arn:aws:s3:::ml-models/prod/*"
    listing = statement(document, "SeeMissingModels")
    assert (listing["Action"], listing["Resource"]) == ("s3:ListBucket", "arn:aws:s3:::ml-models")
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["prod/*"]}}
    assert statement(document, "PullImage")["Resource"] == "arn:aws:ecr:us-east-1:123456789012:repository/mme"
    assert statement(document, "JoinVpc")["Resource"] == "*"
    archive = policies.execution_role("s3://ml-models/prod/fraud.tar.gz", partition="aws-cn")
    assert statement(archive, "ReadModels")["Resource"] == "arn:aws-cn:s3:::ml-models/prod/fraud.tar.gz"
    key = "arn:aws:kms:us-east-1:123456789012:key/1"
    assert statement(policies.execution_role("s3://ml-models", kms_key=key), "ReadEncrypted")["Resource"] == key
    assert "Condition" not in statement(policies.execution_role("s3://ml-models"), "SeeMissingModels")


def test_an_invoker_reaches_its_own_models_alone():
    document = policies.invoker("Scoring", target_models=["team_a/*"], region="eu-west-1", account_id="123456789012")
    one = statement(document, "Invoke")
    assert one["Resource"] == [
        "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/Scoring",
        "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/scoring",
    ]
    assert one["Condition"] == {"StringLike": {"sagemaker:TargetModel": ["team_a/*"]}}
    assert "Condition" not in statement(policies.invoker("scoring"), "Invoke")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: policies.execution_role("ml-models"), "prefix: 'ml-models' is not an S3 address"),
        (
            lambda: policies.execution_role("s3://ml-models", image="mine"),
            "image must be an image URI in ECR",
        ),
        (
            lambda: policies.execution_role("s3://ml-models", kms_key="alias/x"),
            "kms_key must be the ARN of a key",
        ),
        (lambda: policies.invoker("a b"), "endpoint must consist of letters"),
        (lambda: policies.invoker("a", target_models=[]), "target_models: an empty list would allow no model"),
        (lambda: policies.invoker("a", target_models="/x"), "target_models: no target model can match '/x'"),
        (lambda: policies.invoker("a", target_models=["../x"]), "target_models: no target model can match '../x'"),
    ],
)
def test_policies_refuse_what_would_allow_nothing_or_too_much(make, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        make()


def test_nothing_is_left_of_these_tests(aws):
    assert resources(aws) == NOTHING

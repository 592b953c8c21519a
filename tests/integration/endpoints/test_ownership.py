"""Nothing that a person or another endpoint made or uses is touched, whatever its name is."""

from __future__ import annotations

from typing import Any

import pytest

from mme_sdk.aws import Aws, Call
from mme_sdk.endpoints import Endpoints
from mme_sdk.endpoints.spec.requests import derived_name, stem
from mme_sdk.errors import ConflictError, QuotaExceededError
from mme_sdk.local import Fault
from tests.support.endpoints.fixtures import bound
from tests.support.endpoints.helpers import IMAGE, NOTHING, NoInvoker, multi, resources, single

HEX = "3f2a9c1b4d5e"
LIMIT = {"kind": "error", "code": "ResourceLimitExceeded", "status": 400, "message": "the limit is 0"}


def by_hand(aws: Aws, model: str, config: str, endpoint: str | None = None, **variant: Any) -> None:
    """A model and a configuration that a person made, and an endpoint that uses them."""
    client = aws.client("sagemaker")
    container = {"Image": IMAGE, "ModelDataUrl": "s3://ml-models/prod/fraud/v3.tar.gz"}
    client.create_model(ModelName=model, PrimaryContainer=container)
    kind = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    variant = {"VariantName": "A", "ModelName": model, **kind} | variant
    client.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant])
    if endpoint is not None:
        client.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)
        Endpoints(aws, NoInvoker).wait(endpoint, timeout=60)


def lives(aws: Aws, name: str, generation: int = 2) -> None:
    """Create an endpoint, and apply changes until something goes."""
    collection = Endpoints(aws, NoInvoker)
    collection.create(multi(name), timeout=60)
    for number in range(generation):
        collection.apply(multi(name, environment={"GENERATION": str(number)}), timeout=60)


def untouched(aws: Aws, model: str, config: str) -> None:
    there = resources(aws)
    assert model in there["models"]
    assert config in there["configs"]


@pytest.mark.parametrize("length", [20, 63])
def test_what_a_person_made_under_such_a_name_stays_while_another_endpoint_uses_it(aws, name, length):
    name = f"{name}{'x' * 63}"[:length]
    taken = f"{stem(name)}-{HEX}"
    by_hand(aws, taken, taken, "scoring-blue")
    lives(aws, name)
    untouched(aws, taken, taken)
    done = Endpoints(aws, NoInvoker).delete(name, timeout=60)
    untouched(aws, taken, taken)
    assert {str(one) for one in done.kept} == {f"config {taken}", f"model {taken}"}
    assert Endpoints(aws, NoInvoker).describe("scoring-blue").model_data is not None


def test_what_a_person_made_under_such_a_name_stays_although_nothing_uses_it(aws, name):
    taken = f"{name}-{HEX}"
    by_hand(aws, taken, taken)
    lives(aws, name)
    collection = Endpoints(aws, NoInvoker)
    found = collection.orphans()
    assert [(one.name, one.made_for) for one in found] == [(taken, None)] * 2
    assert collection.remove_orphans(found) == ()
    collection.delete(name, timeout=60)
    assert collection.remove_orphans(collection.orphans()) == ()
    untouched(aws, taken, taken)
    assert len(collection.remove_orphans(names=[taken])) == 2
    assert resources(aws) == NOTHING


def test_a_mark_without_the_digest_and_a_digest_without_the_mark_are_not_ours(aws, name):
    client, requests = aws.client("sagemaker"), multi(name, environment={"OLD": "1"}).to_requests()
    model = dict(requests.models[0])
    marked = {**model, "ModelName": f"{name}-{HEX}"}  # a copy under another name, tags and all
    unmarked = {key: value for key, value in model.items() if key != "Tags"}
    client.create_model(**marked)
    client.create_model(**unmarked)
    lives(aws, name)
    Endpoints(aws, NoInvoker).delete(name, timeout=60)
    assert sorted(resources(aws)["models"]) == sorted([marked["ModelName"], unmarked["ModelName"]])


@pytest.mark.parametrize("verb", ["apply", "delete", "orphans"])
def test_what_this_sdk_made_stays_where_another_endpoint_uses_it(aws, name, verb):
    collection = Endpoints(aws, NoInvoker)
    collection.create(multi(name), timeout=60)
    config = multi(name).to_requests().config_name
    aws.client("sagemaker").create_endpoint(EndpointName="scoring-blue", EndpointConfigName=config)
    collection.wait("scoring-blue", timeout=60)
    if verb == "apply":
        for number in range(2):
            collection.apply(multi(name, environment={"GENERATION": str(number)}), timeout=60)
    if verb == "delete":
        done = collection.delete(name, timeout=60)
        assert f"config {config}" in {str(one) for one in done.kept}
    collection.remove_orphans(collection.orphans())
    untouched(aws, multi(name).to_requests().model_names[0], config)


@pytest.mark.parametrize("how", ["shadow", "pool", "production"])
def test_a_model_of_this_sdk_that_a_configuration_of_others_names_stays(aws, name, how):
    collection = Endpoints(aws, NoInvoker)
    collection.create(single(name), timeout=60)
    model = single(name).to_requests().model_names[0]
    kind = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client = aws.client("sagemaker")
    other = {"Image": IMAGE, "ModelDataUrl": "s3://ml-models/prod/fraud/v3.tar.gz"}
    client.create_model(ModelName="other", PrimaryContainer=other)
    variant = {"VariantName": "A", "ModelName": "other", **kind}
    more: dict[str, Any] = {}
    if how == "shadow":
        more = {"ShadowProductionVariants": [{"VariantName": "S", "ModelName": model, **kind}]}
    if how == "pool":
        variant["InstancePools"] = [{"InstanceType": "ml.m5.large", "Priority": 1, "ModelNameOverride": model}]
    if how == "production":
        variant["ModelName"] = model
    try:
        client.create_endpoint_config(EndpointConfigName="other", ProductionVariants=[variant], **more)
        client.create_endpoint(EndpointName="other", EndpointConfigName="other")
    except client.exceptions.ClientError as error:
        pytest.skip(f"the embedded SageMaker has no such configuration: {error}")
    collection.wait("other", timeout=60)
    for number in range(2):
        collection.apply(single(name, environment={"GENERATION": str(number)}), timeout=60)
    collection.delete(name, timeout=60)
    collection.remove_orphans(collection.orphans())
    assert model in resources(aws)["models"]


def test_the_shadow_variants_own_model_stays_while_the_configuration_names_it(aws, name):
    collection = Endpoints(aws, NoInvoker)
    collection.create(single(name), timeout=60)
    model = single(name).to_requests().model_names[0]
    shadow = {"VariantName": "S", "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    more = {"CreateEndpointConfig": {"ShadowProductionVariants": [shadow]}}
    for number in range(3):
        collection.apply(single(name, environment={"GENERATION": str(number)}, extra=more), timeout=60)
    assert model in resources(aws)["models"]
    collection.delete(name, timeout=60)
    assert resources(aws) == NOTHING


def test_other_content_under_a_derived_name_is_refused_and_left(aws, name):
    requests = multi(name).to_requests()
    container = {"Image": IMAGE, "ModelDataUrl": "s3://ml-models/prod/fraud/v3.tar.gz"}
    aws.client("sagemaker").create_model(ModelName=requests.model_names[0], PrimaryContainer=container)
    with pytest.raises(ConflictError, match="other content than this SDK gives that name"):
        Endpoints(aws, NoInvoker).create(multi(name))
    assert resources(aws) == NOTHING | {"models": list(requests.model_names)}


def test_a_failed_creation_leaves_what_another_endpoint_began_to_use_meanwhile(plane, aws, name):
    class Overtaken(Aws):
        def send(self, call: Call) -> Any:
            if call.operation == "create_endpoint":
                client, config = aws.client("sagemaker"), call.params["EndpointConfigName"]
                client.create_endpoint(EndpointName="scoring-blue", EndpointConfigName=config)
                plane.faults.add(Fault(operation="CreateEndpoint", **LIMIT))
            return super().send(call)

    way = bound(plane, Overtaken)
    with pytest.raises(QuotaExceededError):
        Endpoints(way, NoInvoker).create(multi(name))
    way.close()
    plane.faults.clear()
    requests = multi(name).to_requests()
    untouched(aws, requests.model_names[0], requests.config_name)


def test_who_may_not_see_other_endpoints_keeps_what_they_may_use(aws, plane, name):
    collection = Endpoints(aws, NoInvoker)
    collection.create(multi(name), timeout=60)
    plane.faults.add(
        Fault(kind="error", operation="ListEndpoints", code="AccessDeniedException", status=400, message="no")
    )
    done = collection.delete(name, timeout=60)
    assert "cannot be determined" in str(done)
    assert [one.kind for one in done.removed] == ["endpoint"]
    plane.faults.clear()
    assert len(collection.remove_orphans(collection.orphans())) == 2


def test_endpoints_whose_long_names_lead_to_one_stem_share_and_keep(aws):
    long = "a" * 41 + "-" + "b" * 21
    twin = stem(long)
    assert derived_name(long, {}) == derived_name(twin, {})
    collection = Endpoints(aws, NoInvoker)
    collection.create(multi(long), timeout=60)
    collection.create(multi(twin), timeout=60)
    collection.delete(long, timeout=60)
    untouched(aws, multi(twin).to_requests().model_names[0], multi(twin).to_requests().config_name)
    assert collection.plan(multi(twin)).action == "nothing"
    collection.delete(twin, timeout=60)
    assert {one.made_for for one in collection.orphans()} == {long}
    collection.remove_orphans(collection.orphans())
    assert resources(aws) == NOTHING


@pytest.mark.parametrize("others", [0, 30])
def test_an_apply_that_removes_nothing_looks_at_no_other_endpoint(plane, aws, name, others):
    config = multi("many").to_requests()
    client = aws.client("sagemaker")
    client.create_model(**config.models[0])
    client.create_endpoint_config(**config.config)
    for number in range(others):
        client.create_endpoint(EndpointName=f"many-{number}", EndpointConfigName=config.config_name)

    class Counting(Aws):
        said: list[str] = []

        def send(self, call: Call) -> Any:
            self.said.append(call.params.get("EndpointName", call.operation))
            return super().send(call)

    way = bound(plane, Counting)
    way.said = []
    collection = Endpoints(way, NoInvoker)
    collection.apply(multi(name), timeout=60)
    collection.apply(multi(name, environment={"A": "1"}), timeout=60)
    assert not [one for one in way.said if one.startswith("many") or one == "list_endpoints"]
    way.close()
    for number in range(others):
        Endpoints(aws, NoInvoker).wait(f"many-{number}", timeout=60)

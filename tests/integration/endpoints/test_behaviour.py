"""One suite over `Endpoints` and `AsyncEndpoints`, against the embedded control plane."""

from __future__ import annotations

import re

import attrs
import pytest

from mme_sdk import Progress
from mme_sdk.endpoints import Autoscaling, BlueGreen, Container, Rolling, Serverless, Variant
from mme_sdk.errors import (
    ConflictError,
    EndpointFailedError,
    EndpointNotFoundError,
    InvalidInputError,
    WaitTimeoutError,
)
from tests.support.endpoints.helpers import IMAGE, NOTHING, multi, resources, single
from tests.support.endpoints.hosting import PING


def test_the_life_of_an_endpoint(collection, aws, name):
    spec = multi(name, tags={"team": "fraud"})
    handle = collection.create(spec, wait=False)
    assert "status='Creating'" in repr(handle)
    handle = handle.wait(timeout=60)
    facts = f"Endpoint(name='{name}', status='InService', mode='MultiModel', models='s3://ml-models/prod/', "
    assert repr(handle) == f"{facts}instances='2 x ml.m5.xlarge', config='{spec.to_requests().config_name}')"
    seen = handle.describe()
    assert (seen.variants[0].desired_count, seen.tags) == (2, {"team": "fraud"})
    assert [one.name for one in collection.list()] == [name]
    assert [one.name for one in collection.list("no-such")] == []
    assert repr(collection.get(name)) == repr(handle)
    assert re.search("<th[^>]*>status</th><td[^>]*>InService</td>", handle._repr_html_())
    assert repr(collection.handle(name)) == f"Endpoint(name='{name}')"

    would = handle.delete(dry_run=True)
    assert [one.kind for one in would.removed] == ["endpoint", "config", "model"]
    assert resources(aws) != NOTHING
    done = handle.delete(timeout=60)
    assert done.removed == would.removed
    assert not done.dry_run
    assert resources(aws) == NOTHING
    assert str(collection.delete(name)) == f"endpoint {name} and its resources do not exist"


@pytest.mark.parametrize("make", [multi, single])
def test_what_was_created_reads_back_as_its_spec(collection, name, make):
    spec = make(name, environment={"A": "1"}, download_timeout=600, startup_timeout=300, tags={"team": "x"})
    collection.create(spec, timeout=60)
    assert collection.from_endpoint(name) == spec
    assert collection.plan(spec).action == "nothing"


def test_create_again_is_no_error_and_makes_nothing(collection, aws, name):
    spec = multi(name)
    collection.create(spec, timeout=60)
    before = resources(aws)
    assert "InService" in repr(collection.create(spec, timeout=60))
    assert resources(aws) == before


def test_an_endpoint_of_another_tool_that_is_the_same_is_taken_for_the_same(collection, aws, name):
    spec = multi(name)
    requests = spec.to_requests()
    client = aws.client("sagemaker")
    client.create_model(**(requests.models[0] | {"ModelName": "by-hand"}))
    variant = requests.config["ProductionVariants"][0] | {"ModelName": "by-hand", "VolumeSizeInGB": 30}
    client.create_endpoint_config(EndpointConfigName="by-hand", ProductionVariants=[variant])
    client.create_endpoint(EndpointName=name, EndpointConfigName="by-hand")
    before = resources(aws)
    collection.create(spec, timeout=60)
    assert collection.plan(spec).action == "nothing"
    assert resources(aws) == before
    collection.apply(multi(name, environment={"A": "1"}), timeout=60)
    assert collection.handle(name).rollback("by-hand", timeout=60).describe().config_name == "by-hand"


def test_a_scaled_endpoint_is_the_same_and_one_that_scales_otherwise_is_not(collection, name):
    spec = multi(name, autoscaling=Autoscaling(min=1, max=8))
    collection.create(spec, timeout=60).scale(5, timeout=60)
    collection.create(spec)
    with pytest.raises(ConflictError, match=r"autoscaling\.max: 8 → 9"):
        collection.create(multi(name, autoscaling=Autoscaling(min=1, max=9)))


def test_an_endpoint_whose_configuration_is_gone_can_still_be_changed(collection, aws, name):
    collection.apply(multi(name), timeout=60)
    aws.client("sagemaker").delete_endpoint_config(EndpointConfigName=multi(name).to_requests().config_name)
    with pytest.raises(InvalidInputError, match=r"its configuration .* is deleted"):
        collection.from_endpoint(name)
    changed = multi(name, environment={"A": "1"})
    assert "not readable" in repr(collection.plan(changed))
    assert collection.apply(changed, timeout=60).describe().config_name == changed.to_requests().config_name


def test_serverless_endpoints_have_no_instances_to_scale(collection, name):
    handle = collection.apply(single(name, instance_type=None, serverless=Serverless()), timeout=60)
    for change in (lambda: handle.scale(2), lambda: handle.autoscale(Autoscaling(min=1, max=2))):
        with pytest.raises(InvalidInputError, match="has no instances to scale"):
            change()


def test_create_of_something_else_says_what_differs(collection, aws, name):
    collection.create(multi(name), timeout=60)
    before = resources(aws)
    other = multi(name, instance_type="ml.c5.xlarge", environment={"TOKEN": "hush"}, instance_count=3)
    with pytest.raises(ConflictError) as caught:
        collection.create(other)
    text = str(caught.value)
    assert "variants.AllTraffic.instance_type: 'ml.m5.xlarge' → 'ml.c5.xlarge'" in text
    assert "variants.AllTraffic.instance_count: 2 → 3" in text
    assert "hush" not in text
    assert resources(aws) == before


def test_a_failed_creation_says_why_and_leaves_nothing(collection, aws, name):
    with pytest.raises(EndpointFailedError) as caught:
        collection.create(multi(name, image="broken:1"), timeout=60)
    assert caught.value.reason == PING
    assert [status for _, status in caught.value.history] == ["Creating", "Failed"]
    assert f"$252Faws$252Fsagemaker$252FEndpoints$252F{name}" in str(caught.value)
    assert resources(aws) == NOTHING


def test_wait_is_bounded_and_tells_its_history(collection, plane, name):
    handle = collection.create(multi(name), wait=False)
    reported: list[Progress] = []
    with pytest.raises(WaitTimeoutError) as caught:
        handle.wait(0.001, progress=reported.append)
    assert caught.value.history[0][1] == "Creating"
    assert (reported[0].operation, reported[0].subject, reported[0].status, reported[0].timeout) == (
        "wait",
        name,
        "Creating",
        0.001,
    )
    handle.wait(60)


def test_absent_and_impossible_names(collection, name):
    with pytest.raises(EndpointNotFoundError):
        collection.get(name)
    with pytest.raises(EndpointNotFoundError):
        collection.handle(name).wait(5)
    with pytest.raises(EndpointNotFoundError):
        collection.handle(name).update(multi(name))
    for bad in ("", "-x", "a" * 64, "a_b"):
        with pytest.raises(InvalidInputError, match="name"):
            collection.get(bad)


def test_what_is_no_spec_is_refused_before_anything_is_sent(collection, aws, name):
    handle = collection.handle(name)
    junk = {"name": name}
    calls = [
        lambda: collection.create(junk),
        lambda: collection.apply(junk),
        lambda: collection.plan(junk),
        lambda: collection.preflight(junk),
        lambda: collection.temporary(junk).__enter__(),
        lambda: handle.update(junk),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match="spec must be an EndpointSpec, not dict"):
            call()
    with pytest.raises(InvalidInputError, match="weights must be a mapping"):
        handle.weights("A")
    with pytest.raises(InvalidInputError, match="autoscaling must be Autoscaling"):
        handle.autoscale({"min": 1})
    with pytest.raises(InvalidInputError, match="instance_count"):
        handle.scale("2")
    for target in ("/x", "../x", ""):
        with pytest.raises(InvalidInputError, match="target_model"):
            collection.to_multi_model(name, "s3://ml-models/prod/", target_model=target)


def test_apply_creates_then_finds_nothing_to_do(collection, aws, name, caplog):
    spec = multi(name)
    assert collection.plan(spec).action == "create"
    caplog.set_level("INFO", logger="mme_sdk.endpoints")
    collection.apply(spec, timeout=60)
    assert f"Plan for endpoint {name}: create\n  + model {spec.to_requests().model_names[0]}" in caplog.text
    before = resources(aws)
    assert collection.plan(spec).action == "nothing"
    collection.apply(spec, timeout=60)
    assert resources(aws) == before


def test_apply_updates_keeps_one_generation_and_rolls_back(collection, aws, name):
    specs = [multi(name, environment={"GENERATION": str(number)}) for number in range(3)]
    names = [spec.to_requests().config_name for spec in specs]
    for spec in specs:
        collection.apply(spec, timeout=60)
    assert sorted(resources(aws)["configs"]) == sorted(names[1:])
    assert len(resources(aws)["models"]) == 2
    handle = collection.handle(name).rollback(timeout=60)
    assert handle.describe().config_name == names[1]
    assert handle.rollback(timeout=60).describe().config_name == names[2]
    handle.delete(timeout=60)
    assert resources(aws) == NOTHING


def test_rollback_without_an_earlier_generation(collection, name):
    collection.apply(multi(name), timeout=60)
    with pytest.raises(ConflictError, match="no earlier configuration"):
        collection.handle(name).rollback()
    with pytest.raises(ConflictError, match="there is no endpoint configuration nowhere"):
        collection.handle(name).rollback("nowhere")


def test_a_plan_shows_its_changes_and_is_refused_once_it_is_stale(collection, name):
    collection.apply(multi(name), timeout=60)
    planned = collection.plan(multi(name, instance_count=3))
    assert str(planned) == (
        f"Plan for endpoint {name}: change in place\n  variants.AllTraffic.instance_count: 2 → 3 (in place)"
    )
    collection.handle(name).scale(4, timeout=60)
    with pytest.raises(ConflictError, match="has changed since it was planned"):
        collection.apply(planned)
    collection.apply(collection.plan(multi(name, instance_count=3)), timeout=60)
    assert collection.describe(name).variants[0].desired_count == 3


def test_counts_and_tags_change_without_a_new_fleet(collection, aws, name):
    collection.apply(multi(name, tags={"a": "1", "b": "2"}), timeout=60)
    before = resources(aws)
    changed = multi(name, tags={"a": "3", "c": "4"}, instance_count=5)
    collection.apply(changed, timeout=60)
    assert resources(aws) == before
    seen = collection.describe(name)
    assert (seen.tags, seen.variants[0].desired_count) == ({"a": "3", "c": "4"}, 5)
    assert collection.plan(changed).action == "nothing"


def test_scaled_counts_survive_an_update(collection, name):
    handle = collection.apply(multi(name), timeout=60).scale(6, timeout=60)
    handle.update(attrs.evolve(multi(name, model_cache=False), variants=(_six(multi(name, model_cache=False)),)))
    assert handle.describe().variants[0].desired_count == 6


def test_scaling_with_replace_starts_new_instances_with_the_count_from_the_beginning(collection, aws, name):
    handle = collection.apply(multi(name), timeout=60)
    first = handle.describe()
    assert handle.scale(3, replace=True, timeout=60).describe().variants[0].desired_count == 3
    second = handle.describe()
    assert second.config_name != first.config_name
    third = handle.scale(3, replace=True, timeout=60).describe()  # the same number, on other instances
    assert third.config_name not in (first.config_name, second.config_name)
    assert (third.variants[0].desired_count, collection.plan(collection.from_endpoint(name)).action) == (3, "nothing")
    configs = aws.client("sagemaker").list_endpoint_configs(NameContains=name)["EndpointConfigs"]
    assert {one["EndpointConfigName"] for one in configs} == {second.config_name, third.config_name}
    assert handle.rollback(timeout=60).describe().config_name == second.config_name
    handle.autoscale(Autoscaling(min=1, max=4))
    with pytest.raises(InvalidInputError, match="between 1 and 4, not 5"):
        handle.scale(5, replace=True, timeout=60)
    scaled = handle.scale(4, replace=True, timeout=60).describe().variants[0]
    assert (scaled.desired_count, scaled.autoscaling.max) == (4, 4)


@pytest.mark.parametrize("replace", [None, 1, "yes"])
def test_replace_that_is_neither_true_nor_false_is_refused(collection, name, replace):
    with pytest.raises(InvalidInputError, match="replace must be of type bool"):
        collection.handle(name).scale(2, replace=replace)


def _six(spec):
    return attrs.evolve(spec.variants[0], instance_count=6)


def test_a_rolled_back_update_raises_although_in_service(collection, aws, name):
    good = multi(name)
    collection.apply(good, timeout=60)
    before = resources(aws)
    with pytest.raises(EndpointFailedError, match="rolled back") as caught:
        collection.apply(multi(name, image="broken:2"), timeout=60)
    assert caught.value.reason == PING
    seen = collection.describe(name)
    assert (seen.status, seen.config_name) == ("InService", good.to_requests().config_name)
    assert resources(aws) == before
    # An old FailureReason is not the next update's.
    collection.apply(multi(name, environment={"A": "1"}), timeout=60)


def test_apply_makes_a_failed_endpoint_again(collection, aws, plane, name):
    broken = multi(name, image="broken:3")
    client = aws.client("sagemaker")
    for _, operation, params in broken.to_requests().calls:
        getattr(client, operation)(**params)
    with pytest.raises(EndpointFailedError):
        collection.handle(name).wait(60)
    with pytest.raises(EndpointFailedError, match="ended as Failed"):
        collection.create(broken)
    assert collection.plan(multi(name)).action == "create again"
    assert "InService" in repr(collection.apply(multi(name), timeout=60))
    assert len(resources(aws)["configs"]) == 1


def test_from_single_to_multi_model_and_back(collection, name):
    collection.apply(single(name), timeout=60)
    planned = collection.plan(multi(name, instance_type="ml.c6i.large", instance_count=1))
    assert {"mode", "model_data"} <= {one.field.rpartition(".")[2] for one in planned.changes}
    collection.apply(planned, timeout=60)
    assert collection.describe(name).mode == "MultiModel"
    assert collection.handle(name).rollback(timeout=60).describe().mode == "SingleModel"


def test_variants_weights_and_deployments(collection, name):
    def two(**weights):
        container = Container(image=IMAGE, mode="MultiModel", model_data="s3://ml-models/prod/")
        return attrs.evolve(
            multi(name),
            variants=tuple(
                Variant(name=key, containers=(container,), instance_type="ml.m5.large", weight=weight)
                for key, weight in weights.items()
            ),
        )

    handle = collection.apply(two(A=3, B=1), timeout=60)
    handle.weights({"A": 1, "B": 1}, timeout=60)
    assert [one.desired_weight for one in handle.describe().variants] == [1.0, 1.0]
    with pytest.raises(InvalidInputError, match="no variant 'C'"):
        handle.weights({"C": 1})
    with pytest.raises(InvalidInputError, match="name one of them"):
        handle.scale(2)
    changed = attrs.evolve(two(A=1, B=1), network_isolation=True)
    with pytest.raises(InvalidInputError, match="Rolling is not available with several variants"):
        collection.apply(changed, deployment=Rolling())
    with pytest.raises(InvalidInputError, match="need unchanged variant names"):
        collection.apply(attrs.evolve(changed, variants=changed.variants[:1]), deployment=BlueGreen())
    collection.apply(changed, deployment=BlueGreen(canary=10, wait=1), timeout=60)
    assert collection.plan(changed).action == "nothing"


def test_temporary_goes_at_the_end_also_after_an_exception(collection, aws, name):
    with collection.temporary(multi(name), timeout=60) as handle:
        assert "InService" in repr(handle)
    assert resources(aws) == NOTHING
    with pytest.raises(KeyboardInterrupt), collection.temporary(multi(name), timeout=60):
        raise KeyboardInterrupt
    assert resources(aws) == NOTHING


def test_temporary_never_takes_what_exists(collection, aws, name):
    collection.apply(multi(name), timeout=60)
    with pytest.raises(ConflictError, match="would delete it"), collection.temporary(multi(name)):
        pass
    assert resources(aws)["endpoints"] == [name]


def test_delete_keeps_what_was_not_made_for_the_endpoint(collection, aws, name):
    client = aws.client("sagemaker")
    requests = multi(name).to_requests()
    model = requests.models[0] | {"ModelName": f"{name[:40]}-shared"}
    config = requests.config | {
        "EndpointConfigName": f"{name[:40]}-by-hand",
        "ProductionVariants": [requests.config["ProductionVariants"][0] | {"ModelName": model["ModelName"]}],
    }
    client.create_model(**model)
    client.create_endpoint_config(**config)
    client.create_endpoint(EndpointName=name, EndpointConfigName=config["EndpointConfigName"])
    done = collection.delete(name, timeout=60)
    assert [str(one) for one in done.kept] == [f"config {config['EndpointConfigName']}", f"model {model['ModelName']}"]
    assert resources(aws) == {
        "endpoints": [],
        "configs": [config["EndpointConfigName"]],
        "models": [model["ModelName"]],
    }


def test_delete_keeps_its_own_model_where_a_configuration_made_by_hand_uses_it(collection, aws, name):
    client = aws.client("sagemaker")
    requests = multi(name).to_requests()
    client.create_model(**requests.models[0])
    client.create_endpoint_config(**(requests.config | {"EndpointConfigName": "by-hand"}))
    client.create_endpoint(EndpointName=name, EndpointConfigName="by-hand")
    collection.delete(name, timeout=60)
    assert resources(aws) == {"endpoints": [], "configs": ["by-hand"], "models": list(requests.model_names)}


def test_the_sibling_with_a_longer_name_is_not_touched(collection, aws, name):
    sibling = f"{name}-0123456789ab"
    collection.apply(multi(sibling), timeout=60)
    collection.apply(multi(name), timeout=60)
    collection.delete(name, timeout=60)
    assert resources(aws)["endpoints"] == [sibling]
    assert len(resources(aws)["configs"]) == len(resources(aws)["models"]) == 1

"""Updates: what is kept, how traffic moves, and what happens when the new fleet does not come up."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from mme_sdk.local import Fault
from mme_sdk.local.control.sagemaker.rollout import Step, steps
from tests.support.local.helpers import make_config, make_endpoint, make_model, settle


def variant_of(described: dict) -> dict:
    return described["ProductionVariants"][0]


def percent(value: int) -> dict:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def test_an_update_brings_the_new_config_and_resets_counts_unless_they_are_retained(plane, sm, name):
    make_endpoint(sm, name)
    wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 3, "DesiredWeight": 0.5}]
    with plane.hosting.held():
        sm.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=wanted)
        seen = [sm.describe_endpoint(EndpointName=name)]
    seen.append(settle(sm, name)[-1])
    assert [one["EndpointStatus"] for one in seen] == ["Updating", "InService"]
    assert (variant_of(seen[0])["CurrentInstanceCount"], variant_of(seen[0])["DesiredInstanceCount"]) == (1, 3)
    assert (variant_of(seen[1])["CurrentInstanceCount"], variant_of(seen[1])["CurrentWeight"]) == (3, 0.5)
    make_config(sm, f"{name}-2", model=name)
    with plane.hosting.held():
        sm.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-2", RetainAllVariantProperties=True)
        seen = [sm.describe_endpoint(EndpointName=name)]
    seen.append(settle(sm, name)[-1])
    assert [one["EndpointStatus"] for one in seen] == ["Updating", "InService"]
    assert seen[0]["EndpointConfigName"] == name
    assert seen[0]["PendingDeploymentSummary"]["EndpointConfigName"] == f"{name}-2"
    assert seen[1]["EndpointConfigName"] == f"{name}-2"
    assert "PendingDeploymentSummary" not in seen[1]
    assert (variant_of(seen[1])["CurrentInstanceCount"], variant_of(seen[1])["CurrentWeight"]) == (3, 0.5)
    sm.update_endpoint(
        EndpointName=name,
        EndpointConfigName=name,
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredWeight"}],
    )
    last = variant_of(settle(sm, name)[-1])
    assert (last["CurrentInstanceCount"], last["CurrentWeight"]) == (3, 1.0)
    sm.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-2")
    assert variant_of(settle(sm, name)[-1])["CurrentInstanceCount"] == 1


def test_a_failed_update_rolls_back_to_in_service_with_the_reason(plane, sm, name):
    make_endpoint(sm, name)
    make_model(sm, f"{name}-bad", Image="broken")
    make_config(sm, f"{name}-bad")
    sm.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-bad")
    seen = settle(sm, name)
    events = [one for one in reversed(plane.status()["events"]) if one["endpoint"] == name]
    assert [one["status"] for one in events] == ["Creating", "InService", "Updating", "RollingBack", "InService"]
    assert "did not pass the ping health check" in events[-1]["reason"]
    assert "did not pass the ping health check" in seen[-1]["FailureReason"]
    assert seen[-1]["EndpointConfigName"] == name
    sm.update_endpoint(EndpointName=name, EndpointConfigName=name)
    assert "FailureReason" not in settle(sm, name)[-1]


def test_capacity_that_is_not_available_fails_each_step_with_its_reason(plane, sm, name):
    make_endpoint(sm, name)
    plane.faults.add(Fault(kind="capacity", endpoint=name, operation="UpdateEndpoint", times=1))
    sm.update_endpoint(EndpointName=name, EndpointConfigName=name)
    assert "InsufficientInstanceCapacity" in settle(sm, name)[-1]["FailureReason"]
    operation = "UpdateEndpointWeightsAndCapacities"
    plane.faults.add(Fault(kind="capacity", endpoint=name, operation=operation, times=1, message="No room."))
    sm.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 9}]
    )
    last = settle(sm, name)[-1]
    assert (last["EndpointStatus"], last["FailureReason"]) == ("InService", "No room.")
    assert variant_of(last)["DesiredInstanceCount"] == variant_of(last)["CurrentInstanceCount"] == 1
    plane.faults.add(Fault(kind="capacity", endpoint=f"{name}-2", times=1))
    sm.create_endpoint(EndpointName=f"{name}-2", EndpointConfigName=name)
    assert settle(sm, f"{name}-2")[-1]["EndpointStatus"] == "Failed"
    with pytest.raises(ClientError, match="in status Failed"):
        sm.update_endpoint(EndpointName=f"{name}-2", EndpointConfigName=name)
    plane.faults.clear()


def test_an_update_that_cannot_be_undone_still_serves_and_can_be_repaired(plane, sm, name):
    make_endpoint(sm, name)
    plane.faults.add(Fault(kind="capacity", endpoint=name, times=1))
    plane.faults.add(Fault(kind="rollback_failed", endpoint=name, times=1))
    sm.update_endpoint(EndpointName=name, EndpointConfigName=name)
    failed = settle(sm, name, until=("UpdateRollbackFailed",))[-1]
    assert "InsufficientInstanceCapacity" in failed["FailureReason"]
    assert failed["ProductionVariants"]
    sm.update_endpoint(EndpointName=name, EndpointConfigName=name)
    assert "FailureReason" not in settle(sm, name, until=("InService",))[-1]
    plane.faults.clear()


def test_a_canary_moves_traffic_in_steps_and_the_config_is_remembered(plane, sm, name):
    make_endpoint(sm, name)
    routing = {"Type": "CANARY", "CanarySize": percent(20), "WaitIntervalInSeconds": 10}
    config = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 5}}
    sm.update_endpoint(EndpointName=name, EndpointConfigName=name, DeploymentConfig=config)
    assert settle(sm, name)[-1]["LastDeploymentConfig"] == config
    sm.update_endpoint(EndpointName=name, EndpointConfigName=name, RetainDeploymentConfig=True)
    assert settle(sm, name)[-1]["LastDeploymentConfig"] == config
    hosting = plane.hosting
    assert [entry[2] for entry in hosting.log if entry[:2] == ("share", name)] == [0.2, 1.0] * 2
    sm.update_endpoint(EndpointName=name, EndpointConfigName=name)
    assert "LastDeploymentConfig" not in settle(sm, name)[-1]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"CANARY": {}}, "CanarySize must be specified"),
        ({"CANARY": {"CanarySize": percent(51)}}, "CanarySize must be between 1% and 50%"),
        ({"LINEAR": {"LinearStepSize": percent(9)}}, "LinearStepSize must be between 10% and 50%"),
        ({"ROLLING": percent(80)}, "MaximumBatchSize must be between 5% and 50%"),
        ({"ROLLING": {"Type": "INSTANCE_COUNT", "Value": 1}}, "of the capacity of 1 instances"),
        ({"ROLLING": percent(50), "CANARY": {"CanarySize": percent(10)}}, "not both"),
    ],
)
def test_rollouts_that_sagemaker_refuses(sm, name, config, text):
    make_endpoint(sm, name)
    asked = {}
    for kind in ("CANARY", "LINEAR"):
        if kind in config:
            routing = {"Type": kind, "WaitIntervalInSeconds": 1} | config[kind]
            asked["BlueGreenUpdatePolicy"] = {"TrafficRoutingConfiguration": routing}
    if "ROLLING" in config:
        asked["RollingUpdatePolicy"] = {"MaximumBatchSize": config["ROLLING"], "WaitIntervalInSeconds": 0}
    with pytest.raises(ClientError, match=text):
        sm.update_endpoint(EndpointName=name, EndpointConfigName=name, DeploymentConfig=asked)
    assert sm.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"


def test_steps_of_every_policy():
    def blue_green(**routing):
        policy = {
            "TrafficRoutingConfiguration": {"WaitIntervalInSeconds": 60, **routing},
            "TerminationWaitInSeconds": 9,
        }
        return {"BlueGreenUpdatePolicy": policy}

    assert steps({}, 2) == [Step(1.0, 0)]
    assert steps(blue_green(Type="ALL_AT_ONCE"), 2) == [Step(1.0, 60)]
    one_of_four = {"Type": "INSTANCE_COUNT", "Value": 1}
    assert steps(blue_green(Type="CANARY", CanarySize=one_of_four), 4) == [Step(0.25, 60), Step(1.0, 9)]
    linear = steps(blue_green(Type="LINEAR", LinearStepSize=percent(50)), 4)
    assert linear == [Step(0.5, 60), Step(1.0, 9)]
    rolling = {"RollingUpdatePolicy": {"MaximumBatchSize": percent(25), "WaitIntervalInSeconds": 30}}
    assert steps(rolling, 4) == [Step(0.25, 30), Step(0.5, 30), Step(0.75, 30), Step(1.0, 0)]

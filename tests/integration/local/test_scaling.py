"""Test Application Auto Scaling with a clock that the test controls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.alarms import Alarms
from mme_sdk.local.control.autoscaling.scaler import Scaler, step_count, tracked_count
from mme_sdk.local.control.autoscaling.schedules import Schedule
from mme_sdk.local.control.autoscaling.service import AutoScaling
from mme_sdk.local.control.metrics import Metrics, Point
from mme_sdk.local.control.store import Store
from mme_sdk.local.wire.errors import ApiError
from tests.support.local.helpers import make_config, make_endpoint, settle
from tests.support.local.waiting import wait_until

WHO = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/e/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
TRACKING = {
    "TargetValue": 100.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    "ScaleOutCooldown": 60,
    "ScaleInCooldown": 60,
}


class World:
    """A scaler with a clock that the test advances."""

    def __init__(self, path) -> None:
        self.time = datetime(2030, 1, 1, tzinfo=UTC)
        self.count = 2
        self.store = Store(path / "state.sqlite")
        self.metrics = Metrics()
        account = Account()
        self.alarms = Alarms(self.metrics, self.store, account, self.now)
        self.autoscaling = AutoScaling(self.store, account, self.alarms, self.now, self.size)
        self.scaler = Scaler(
            self.store, self.autoscaling, self.alarms, self.now, 60.0, self.size, lambda *to: self.resize(*to)
        )
        self.do("RegisterScalableTarget", MinCapacity=1, MaxCapacity=6)

    def now(self) -> datetime:
        return self.time

    def size(self, endpoint: str, variant: str) -> int | None:
        return self.count if (endpoint, variant) == ("e", "AllTraffic") else None

    def resize(self, endpoint: str, variant: str, count: int) -> bool:
        self.count = count
        return True

    def do(self, operation: str, **params) -> dict:
        return self.autoscaling.operations[operation](WHO | params)

    def minutes(self, count: int, *, per_instance: float | None) -> None:
        for _ in range(count):
            if per_instance is not None:
                at = self.time.timestamp()
                self.metrics.measure("InvocationsPerInstance", "e", "AllTraffic", per_instance, at=at)
            self.time += timedelta(minutes=1)
            self.scaler.run_once()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.store.close()


def test_three_busy_minutes_scale_out_in_proportion_and_the_cooldown_holds(world):
    world.do("PutScalingPolicy", PolicyName="p", PolicyType="TargetTrackingScaling",
             TargetTrackingScalingPolicyConfiguration=TRACKING | {"ScaleOutCooldown": 600})  # fmt: skip
    world.minutes(2, per_instance=190.0)
    assert world.count == 2
    world.minutes(1, per_instance=190.0)
    assert world.count == 4  # 2 instances x 190 / 100
    world.minutes(5, per_instance=190.0)
    assert world.count == 4
    world.minutes(5, per_instance=190.0)
    assert world.count == 6  # 4 x 1.9 is 8, but no more than MaxCapacity
    activities = world.do("DescribeScalingActivities")["ScalingActivities"]
    assert [one["Description"][-2:] for one in activities] == ["6.", "4."]
    assert "AlarmHigh" in activities[0]["Cause"]


def test_fifteen_quiet_minutes_scale_in_but_no_traffic_at_all_does_not(world):
    world.count = 6
    world.do("PutScalingPolicy", PolicyName="p", PolicyType="TargetTrackingScaling",
             TargetTrackingScalingPolicyConfiguration=TRACKING)  # fmt: skip
    world.minutes(14, per_instance=30.0)
    assert world.count == 6
    world.minutes(1, per_instance=30.0)
    assert world.count == 2  # 6 x 0.3 is 1.8
    world.count = 6
    world.minutes(40, per_instance=None)
    assert world.count == 6


def test_scale_in_can_be_switched_off_and_scaling_suspended(world):
    tracking = TRACKING | {"DisableScaleIn": True}
    alarms = world.do("PutScalingPolicy", PolicyName="p", PolicyType="TargetTrackingScaling",
                      TargetTrackingScalingPolicyConfiguration=tracking)["Alarms"]  # fmt: skip
    assert len(alarms) == 1
    world.do("RegisterScalableTarget", SuspendedState={"DynamicScalingOutSuspended": True})
    world.minutes(5, per_instance=500.0)
    assert world.count == 2
    world.do("RegisterScalableTarget", SuspendedState={"DynamicScalingOutSuspended": False})
    world.minutes(1, per_instance=500.0)
    assert world.count == 6


def test_a_busy_endpoint_is_scaled_at_the_next_look(world):
    world.do("PutScalingPolicy", PolicyName="p", PolicyType="TargetTrackingScaling",
             TargetTrackingScalingPolicyConfiguration=TRACKING)  # fmt: skip
    resize, world.resize = world.resize, lambda *_: False
    world.minutes(4, per_instance=190.0)
    assert world.count == 2
    assert world.do("DescribeScalingActivities")["ScalingActivities"] == []
    world.resize = resize
    world.minutes(1, per_instance=190.0)
    assert world.count == 4


def test_a_customized_metric_is_tracked_too(world):
    custom = {"Namespace": "own", "MetricName": "Depth", "Statistic": "Average", "Dimensions": []}
    tracking = {"TargetValue": 10.0, "CustomizedMetricSpecification": custom}
    world.do("PutScalingPolicy", PolicyName="p", PolicyType="TargetTrackingScaling",
             TargetTrackingScalingPolicyConfiguration=tracking)  # fmt: skip
    for _ in range(3):
        depth = Point()
        depth.add(25.0)
        world.metrics.put("own", "Depth", (), world.time.timestamp(), depth)
        world.minutes(1, per_instance=None)
    assert world.count == 5


STEP = {"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "AdjustmentType is required"),
        ({"AdjustmentType": "ChangeInCapacity"}, "At least one StepAdjustment"),
        ({"StepAdjustments": [STEP | {"MetricIntervalUpperBound": 0.0}]}, "must be less than"),
        ({"StepAdjustments": [STEP, STEP | {"MetricIntervalLowerBound": 5.0}]}, "gaps or overlaps"),
        (
            {
                "StepAdjustments": [
                    STEP | {"MetricIntervalUpperBound": 5.0},
                    STEP | {"MetricIntervalLowerBound": 6.0},
                ]
            },
            "gaps or overlaps",
        ),
        ({"StepAdjustments": [STEP], "MinAdjustmentMagnitude": 2}, "valid only for the AdjustmentType Percent"),
        ({"StepAdjustments": [STEP], "Cooldown": -1}, "Cooldown must not be negative"),
        (
            {"AdjustmentType": "ExactCapacity", "StepAdjustments": [STEP | {"ScalingAdjustment": -1}]},
            "must not be negative",
        ),
    ],
)
def test_a_step_policy_that_aws_refuses_is_refused(world, config, text):
    given = ({"AdjustmentType": "ChangeInCapacity"} if "StepAdjustments" in config else {}) | config
    with pytest.raises(ApiError, match=text):
        world.do("PutScalingPolicy", PolicyName="p", PolicyType="StepScaling", StepScalingPolicyConfiguration=given)
    assert world.do("DescribeScalingPolicies")["ScalingPolicies"] == []


def test_more_than_twenty_steps_exceed_the_limit(world):
    steps = [
        {"MetricIntervalLowerBound": float(n), "MetricIntervalUpperBound": n + 1.0, "ScalingAdjustment": 1}
        for n in range(21)
    ]
    config = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": steps}
    with pytest.raises(ApiError) as caught:
        world.do("PutScalingPolicy", PolicyName="p", PolicyType="StepScaling", StepScalingPolicyConfiguration=config)
    assert caught.value.code == "LimitExceededException"


def test_one_policy_tracks_one_metric_and_keeps_its_type(world):
    custom = {"Namespace": "own", "MetricName": "Depth", "Statistic": "Average"}
    put = {"PolicyName": "p", "PolicyType": "TargetTrackingScaling"}
    for both in ({"TargetValue": 1.0}, TRACKING | {"CustomizedMetricSpecification": custom}):
        with pytest.raises(ApiError, match="Exactly one of"):
            world.do("PutScalingPolicy", **put, TargetTrackingScalingPolicyConfiguration=both)
    world.do("PutScalingPolicy", **put, TargetTrackingScalingPolicyConfiguration=TRACKING)
    alarms = world.do("DescribeScalingPolicies")["ScalingPolicies"][0]["Alarms"]
    step = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [STEP]}
    with pytest.raises(ApiError, match="cannot be changed to StepScaling"):
        world.do("PutScalingPolicy", PolicyName="p", PolicyType="StepScaling", StepScalingPolicyConfiguration=step)
    assert world.do("DescribeScalingPolicies")["ScalingPolicies"][0]["Alarms"] == alarms  # untouched by the refusal
    assert len(world.alarms.operations["DescribeAlarms"]({})["MetricAlarms"]) == 2


def test_a_schedule_that_aws_refuses_is_refused(world):
    action = {"ScheduledActionName": "a", "Schedule": "rate(1 hour)"}
    for wrong, text in (
        ({"StartTime": world.now(), "EndTime": world.now()}, "StartTime must be before EndTime"),
        ({"ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 2}}, "at most MaxCapacity"),
        ({"ScalableTargetAction": {"MinCapacity": -1}}, "MinCapacity must be at least 1"),
    ):
        with pytest.raises(ApiError, match=text):
            world.do("PutScheduledAction", **action | wrong)
    assert world.do("DescribeScheduledActions")["ScheduledActions"] == []


def test_targets_and_policies_of_another_namespace_are_not_shown(world):
    found = world.autoscaling.operations["DescribeScalableTargets"]({"ServiceNamespace": "ecs"})
    assert found["ScalableTargets"] == []
    assert len(world.do("DescribeScalableTargets")["ScalableTargets"]) == 1


def test_the_tags_of_a_target_are_kept_until_it_is_deregistered(world):
    arn = world.do("DescribeScalableTargets")["ScalableTargets"][0]["ScalableTargetARN"]
    run = world.autoscaling.operations
    run["TagResource"]({"ResourceARN": arn, "Tags": {"team": "fraud", "stage": "test"}})
    run["UntagResource"]({"ResourceARN": arn, "TagKeys": ["stage"]})
    assert run["ListTagsForResource"]({"ResourceARN": arn}) == {"Tags": {"team": "fraud"}}
    with pytest.raises(ApiError) as caught:
        run["TagResource"]({"ResourceARN": arn, "Tags": {str(n): "" for n in range(50)}})
    assert caught.value.code == "TooManyTagsException"
    world.do("DeregisterScalableTarget")
    with pytest.raises(ApiError) as caught:
        run["ListTagsForResource"]({"ResourceARN": arn})
    assert caught.value.code == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("operation", "params", "text"),
    [
        ("RegisterScalableTarget", {"ResourceId": "table/x"}, "Unsupported resource ID"),
        ("RegisterScalableTarget", {"ScalableDimension": "dynamodb:table:ReadCapacityUnits"}, "Only sagemaker:variant"),
        ("RegisterScalableTarget", {"MinCapacity": 7}, "at most MaxCapacity"),
        ("RegisterScalableTarget", {"MinCapacity": 0}, "only variants of asynchronous endpoints can scale to 0"),
        ("RegisterScalableTarget", {"MinCapacity": 0, "MaxCapacity": 0}, "at least 1"),
        (
            "PutScheduledAction",
            {"ScheduledActionName": "a", "Schedule": "rate(1 day)", "ScalableTargetAction": {"MinCapacity": 0}},
            "only variants of asynchronous endpoints can scale to 0",
        ),
        ("PutScalingPolicy", {"PolicyName": "p", "PolicyType": "PredictiveScaling"}, "PredictiveScaling"),
        ("PutScalingPolicy", {"PolicyName": "p", "PolicyType": "TargetTrackingScaling"}, "is missing"),
        ("PutScheduledAction", {"ScheduledActionName": "a"}, "Schedule is required"),
        ("DeleteScheduledAction", {"ScheduledActionName": "a"}, "No scheduled action found"),
        ("DeleteScalingPolicy", {"PolicyName": "p"}, "No scaling policy found"),
    ],
)
def test_refusals(world, operation, params, text):
    with pytest.raises(ApiError, match=text):
        world.do(operation, **params)


def test_a_step_policy_acts_on_the_alarm_that_names_it(world):
    steps = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [
        {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 50.0, "ScalingAdjustment": 1},
        {"MetricIntervalLowerBound": 50.0, "ScalingAdjustment": 3}]}  # fmt: skip
    arn = world.do("PutScalingPolicy", PolicyName="s", PolicyType="StepScaling", StepScalingPolicyConfiguration=steps)
    world.alarms.put_alarm(
        AlarmName="busy", Namespace="AWS/SageMaker", MetricName="InvocationsPerInstance", Statistic="Sum", Period=60,
        Dimensions=[{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "AllTraffic"}],
        EvaluationPeriods=1, Threshold=100.0, ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[arn["PolicyARN"]])  # fmt: skip
    world.minutes(1, per_instance=120.0)
    assert world.count == 3
    world.minutes(1, per_instance=190.0)
    assert world.count == 3  # the default cooldown is five minutes
    world.minutes(5, per_instance=190.0)
    assert world.count == 6
    world.alarms.put_alarm(**world.store.get("alarm", "busy") | {"ActionsEnabled": False})
    world.minutes(6, per_instance=190.0)
    assert world.count == 6


def test_of_several_policies_the_largest_wins_and_all_must_agree_to_scale_in(world):
    cpu = {"MetricName": "Own", "Namespace": "Own", "Statistic": "Average"}
    cooldowns = {"ScaleOutCooldown": 0, "ScaleInCooldown": 0, "TargetValue": 50.0}
    for name, metric in (
        ("requests", {"PredefinedMetricSpecification": TRACKING["PredefinedMetricSpecification"]}),
        ("own", {"CustomizedMetricSpecification": cpu}),
    ):
        world.do("PutScalingPolicy", PolicyName=name, PolicyType="TargetTrackingScaling",
                 TargetTrackingScalingPolicyConfiguration=cooldowns | metric)  # fmt: skip

    def minutes(count: int, requests: float, own: float) -> int:
        for _ in range(count):
            point = Point()
            point.add(own)
            world.metrics.put("Own", "Own", (), world.time.timestamp(), point)
            world.minutes(1, per_instance=requests)
        return world.count

    assert minutes(4, 75.0, 100.0) == 6  # 2 x 100 / 50, and once more
    world.count = 4
    assert minutes(20, 10.0, 50.0) == 4  # requests alone would remove instances
    assert minutes(20, 10.0, 20.0) < 4
    world.count = 4
    own = {**cooldowns, "CustomizedMetricSpecification": cpu, "DisableScaleIn": True}
    world.do("PutScalingPolicy", PolicyName="own", PolicyType="TargetTrackingScaling",
             TargetTrackingScalingPolicyConfiguration=own)  # fmt: skip
    assert minutes(20, 10.0, 50.0) < 4  # a policy that never removes instances does not hold the others


def test_a_step_policy_shows_the_alarms_that_trigger_it(world):
    steps = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [
        {"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}]}  # fmt: skip
    arn = world.do("PutScalingPolicy", PolicyName="s", StepScalingPolicyConfiguration=steps)["PolicyARN"]
    made = world.alarms.put_alarm(AlarmName="a", MetricName="m", Namespace="n", Statistic="Sum", Period=60,
        EvaluationPeriods=1, Threshold=1.0, ComparisonOperator="GreaterThanThreshold", AlarmActions=[arn])  # fmt: skip
    (policy,) = world.do("DescribeScalingPolicies")["ScalingPolicies"]
    assert policy["Alarms"] == [{"AlarmName": "a", "AlarmARN": made}]


def test_a_scheduled_action_moves_the_bounds_and_the_count_with_them(world):
    world.do("PutScheduledAction", ScheduledActionName="night", Schedule="cron(30 0 * * ? *)",
             ScalableTargetAction={"MinCapacity": 5, "MaxCapacity": 8})  # fmt: skip
    world.minutes(29, per_instance=None)
    assert world.count == 2
    world.minutes(1, per_instance=None)
    assert world.count == 5
    assert world.do("DescribeScalableTargets")["ScalableTargets"][0]["MaxCapacity"] == 8


def test_deregistering_takes_policies_alarms_and_schedules_along(world):
    world.do("PutScalingPolicy", PolicyName="p", PolicyType="TargetTrackingScaling",
             TargetTrackingScalingPolicyConfiguration=TRACKING)  # fmt: skip
    world.do("PutScheduledAction", ScheduledActionName="a", Schedule="rate(1 hour)")
    assert len(world.alarms.operations["DescribeAlarms"]({})["MetricAlarms"]) == 2
    world.do("DeregisterScalableTarget")
    for operation, member in (("DescribeScalingPolicies", "ScalingPolicies"), ("DescribeScheduledActions", "ScheduledActions")):  # fmt: skip # noqa: E501
        assert world.do(operation)[member] == []
    assert world.alarms.operations["DescribeAlarms"]({})["MetricAlarms"] == []
    with pytest.raises(ApiError, match="No scalable target registered"):
        world.do("DeregisterScalableTarget")


@pytest.mark.parametrize(
    ("expression", "zone", "moment", "due"),
    [
        ("at(2030-01-01T12:00:00)", None, "2030-01-01T12:00", True),
        ("at(2030-01-01T12:00:00)", "Europe/Berlin", "2030-01-01T11:00", True),
        ("at(2030-01-01T12:00:00)", None, "2030-01-01T12:01", False),
        ("rate(5 minutes)", None, "2030-01-01T00:05", True),
        ("rate(5 minutes)", None, "2030-01-01T00:06", False),
        ("cron(0 8 ? * MON-FRI *)", None, "2030-01-01T08:00", True),  # a Tuesday
        ("cron(0 8 ? * SAT,SUN *)", None, "2030-01-01T08:00", False),
        ("cron(0/15 * * * ? *)", None, "2030-01-01T08:45", True),
        ("cron(0/15 * * * ? *)", None, "2030-01-01T08:46", False),
    ],
)
def test_schedules(expression, zone, moment, due):
    until = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    created = datetime(2030, 1, 1, tzinfo=UTC)
    assert Schedule.parse(expression, zone).due(until - timedelta(minutes=1), until, created) is due


@pytest.mark.parametrize(
    "expression", ["", "at(noon)", "rate(5 moons)", "cron(* * *)", "cron(99 * * * ? *)", "every(1)"]
)
def test_a_schedule_that_is_none_is_refused(expression):
    with pytest.raises(ApiError, match="Invalid schedule"):
        Schedule.parse(expression)


def test_counts():
    assert tracked_count(2, 150, 100, scale_in=False) == 3
    assert tracked_count(4, 10, 100, scale_in=True) == 1
    assert tracked_count(4, 110, 100, scale_in=True) == 4
    assert tracked_count(4, 0, 100, scale_in=True) == 0
    assert tracked_count(0, 7, 5, scale_in=False) == 2
    percent = {"AdjustmentType": "PercentChangeInCapacity", "MinAdjustmentMagnitude": 2}
    assert step_count(10, 1, percent | {"StepAdjustments": [{"ScalingAdjustment": 50}]}) == 15
    assert step_count(2, 1, percent | {"StepAdjustments": [{"ScalingAdjustment": 10}]}) == 4
    assert step_count(2, 1, {"AdjustmentType": "ExactCapacity", "StepAdjustments": [{"ScalingAdjustment": 7}]}) == 7
    assert step_count(2, -1, {"StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}]}) == 2


def test_a_real_client_scales_a_real_endpoint(plane, sm, name):
    make_endpoint(sm, name)
    scaling = plane.boto("application-autoscaling")
    who = WHO | {"ResourceId": f"endpoint/{name}/variant/AllTraffic"}
    with pytest.raises(ClientError, match="in service"):
        scaling.register_scalable_target(
            **WHO | {"ResourceId": "endpoint/none/variant/x"}, MinCapacity=1, MaxCapacity=2
        )
    with pytest.raises(ClientError) as caught:
        scaling.put_scaling_policy(PolicyName="p", **who)
    assert caught.value.response["Error"]["Code"] == "ObjectNotFoundException"
    scaling.register_scalable_target(**who, MinCapacity=2, MaxCapacity=4, Tags={"team": "a"})
    answer = scaling.put_scaling_policy(
        PolicyName="p", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=TRACKING, **who
    )
    assert len(answer["Alarms"]) == 2
    described = scaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=who["ResourceId"])
    assert described["ScalingPolicies"][0]["TargetTrackingScalingPolicyConfiguration"] == TRACKING
    wait_until(
        lambda: settle(sm, name)[-1]["ProductionVariants"][0]["CurrentInstanceCount"] == 2, "the smallest capacity"
    )
    assert ("scale", name, "AllTraffic", 2) in plane.hosting.log
    make_config(sm, f"{name}-2", model=name, InstanceType="ml.c5.large")
    with pytest.raises(ClientError, match="must be deregistered as scalable targets"):
        sm.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-2")
    scaling.deregister_scalable_target(**who)
    sm.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-2")
    assert settle(sm, name)[-1]["EndpointConfigName"] == f"{name}-2"
    scaling.close()


def test_an_alarm_that_rings_turns_a_canary_back(plane, sm, name):
    make_endpoint(sm, name)
    cloudwatch = plane.boto("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace=name,
        MetricName="M",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="breaching",
    )
    wait_until(
        lambda: cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"] == "ALARM", "the alarm"
    )
    make_config(sm, f"{name}-2", model=name)
    sm.update_endpoint(
        EndpointName=name,
        EndpointConfigName=f"{name}-2",
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 60}
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name}]},
        },
    )
    last = settle(sm, name)[-1]
    assert (last["EndpointStatus"], last["EndpointConfigName"]) == ("InService", name)
    assert "went into ALARM state" in last["FailureReason"]
    cloudwatch.delete_alarms(AlarmNames=[name])
    cloudwatch.close()


@pytest.mark.parametrize(
    "text",
    ["rate(0 minutes)", "rate(-1 days)", "rate(1_0 days)", "rate(99999999999 days)", "rate(1.5 hours)",
     "cron(*/0 * * * ? *)",
     "at(2030-01-01T00:00:00+05:00)", "at(soon)"],
)  # fmt: skip
def test_a_schedule_that_can_never_be_due_is_refused(text):
    with pytest.raises(ApiError, match="Invalid schedule"):
        Schedule.parse(text)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e308, -1e308, float("inf"), float("-inf"), float("nan")])
def test_any_metric_leads_to_a_number_of_instances(value):
    for target in (8.6e-109, 1.0, 1.1e108):
        for scale_in in (True, False):
            assert 0 <= tracked_count(3, value, target, scale_in=scale_in) < 2**31

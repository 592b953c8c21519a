"""Arguments of `endpoint.diagnose`, and the calls that it makes, without any service."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mme_sdk._flows.effects import Call, Together
from mme_sdk.diagnosis.observation import within
from mme_sdk.endpoints.autoscaling.scaling_calls import Attached
from mme_sdk.endpoints.state.describe import Live
from mme_sdk.endpoints.state.description import EndpointDescription, VariantDescription
from mme_sdk.endpoints.state.observe import _checked, _failed_config, _is_cached, _scaling, diagnose, period_for
from mme_sdk.errors import AccessDeniedError, EndpointNotFoundError, InvalidInputError
from mme_sdk.recording import RecordedMinute

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = RecordedMinute(endpoint="scoring", at=NOW, model="fraud/v1.tar.gz", calls=1)


def flow_of(**changes: Any) -> Any:
    given: dict[str, Any] = {
        "hours": 24.0,
        "recordings": None,
        "prices": None,
        "quotas": None,
        "key": "{name}/{version}.tar.gz",
        "aws": None,
        "end": NOW,
    }
    return diagnose("scoring", **(given | changes))


def begun(**changes: Any) -> Any:
    return next(flow_of(**changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hours": 0}, "hours must be a finite number over 0"),
        ({"hours": 11_000}, "hours must be"),
        ({"recordings": "s3://recordings/"}, "recordings must be the recorded minutes"),
        ({"recordings": 7}, "recordings must be the recorded minutes"),
        ({"recordings": [{"calls": 1}]}, "is not a RecordedMinute"),
        (
            {"recordings": [RecordedMinute(endpoint="scoring", at=datetime(2026, 3, 1), model="m", calls=1)]},
            "time zone",
        ),
        ({"prices": 0.23}, "prices must be a mapping"),
        ({"prices": {"ml.m5.xlarge": "0.23"}}, r"prices\['ml.m5.xlarge'\] must be"),
        ({"quotas": {"ml.m5.xlarge": -1}}, r"quotas\['ml.m5.xlarge'\] must be"),
        ({"key": "{name}.tar.gz"}, "version"),
    ],
)
def test_an_argument_that_is_not_valid_is_refused_before_any_call(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        begun(**change)


def test_valid_arguments_begin_with_the_endpoint() -> None:
    call = begun(recordings=[MINUTE], prices={"ml.m5.xlarge": 0.23}, quotas={"ml.m5.xlarge": 20})
    assert isinstance(call, Call)
    assert call.operation == "describe_endpoint"


@pytest.mark.parametrize("hours", [0.001, 1, 24, 98, 99, 360, 361, 24 * 63, 24 * 63 + 1, 24 * 455])
def test_one_request_returns_the_data_points_that_cloudwatch_keeps(hours: float) -> None:
    period = period_for(hours)
    assert period % 60 == 0
    assert hours * 3600 / period * 17 <= 100_800
    assert period >= (60 if hours <= 360 else 300 if hours <= 24 * 63 else 3600)


def test_the_number_of_series_is_that_of_the_metrics() -> None:
    from mme_sdk.metrics.reading import _METRICS

    assert len(_METRICS) == 17


def test_minutes_that_overlap_the_time_count() -> None:
    at = [NOW + timedelta(seconds=seconds) for seconds in (-61, -59, 0, 599, 600)]
    minutes = [RecordedMinute(endpoint="scoring", at=one, model=None, calls=1) for one in at]
    assert [one.at for one in within(minutes, NOW, NOW + timedelta(minutes=10))] == at[1:4]


def _run(flow: Any, answer: Callable[[Call], Any]) -> Any:
    """Run a flow whose calls are answered by a function; an exception is raised inside."""

    def handle(effect: Any) -> Any:
        if isinstance(effect, Together):
            return [_result(one) for one in effect.flows]
        return answer(effect)

    def _result(one: Any) -> Any:
        try:
            return _run(one, answer)
        except Exception as error:  # noqa: BLE001 - as the interpreter does
            return error

    try:
        effect = next(flow)
        while True:
            try:
                value = handle(effect)
            except Exception as error:  # noqa: BLE001 - raised inside the flow
                effect = flow.throw(error)
            else:
                effect = flow.send(value)
    except StopIteration as end:
        return end.value


def denied(call: Call) -> Any:
    """An account that may only describe the endpoint."""
    if call.operation != "describe_endpoint":
        raise AccessDeniedError(f"not allowed: {call.operation}")
    return {
        "EndpointName": "scoring",
        "EndpointStatus": "InService",
        "EndpointArn": "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/scoring",
        "FailureReason": "InsufficientInstanceCapacity",
        "ProductionVariants": [{"VariantName": "AllTraffic", "CurrentInstanceCount": 2}],
    }


def diagnosed(answer: Callable[[Call], Any]) -> Any:
    return _run(flow_of(), answer)


def test_permissions_that_are_missing_are_said() -> None:
    found = diagnosed(denied)
    assert [one.kind for one in found] == ["unseen_rollback"]
    said = "\n".join(found.missing)
    for what in ("autoscaling could not be read", "tags could not be read", "metrics of variant AllTraffic"):
        assert what in said


def test_an_endpoint_that_does_not_exist_is_an_error() -> None:
    def missing(_: Call) -> Any:
        raise EndpointNotFoundError("scoring does not exist")

    with pytest.raises(EndpointNotFoundError):
        diagnosed(missing)


@pytest.mark.parametrize(("setting", "cached"), [("Disabled", False), ("Enabled", True), (None, True)])
def test_the_cache_setting_is_that_of_the_container(setting: str | None, cached: bool) -> None:
    container: dict[str, Any] = {"Mode": "MultiModel", "Image": "x"}
    if setting is not None:
        container["MultiModelConfig"] = {"ModelCacheSetting": setting}
    live = Live(
        description=EndpointDescription(name="scoring", status="InService"),
        models={"m": {"ModelName": "m", "PrimaryContainer": container}},
    )
    assert _is_cached(live, VariantDescription(name="AllTraffic", model_name="m")) is cached


def policy(**config: Any) -> dict[str, Any]:
    return {"PolicyName": "p", "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 7.0, **config}}


def read_scaling(*policies: dict[str, Any]) -> tuple[Any, list[Call]]:
    target = {"MinCapacity": 1, "MaxCapacity": 4}
    attached = Attached(variant="AllTraffic", target=target, policies=policies)
    live = Live(description=EndpointDescription(name="scoring", status="InService"), attached={"AllTraffic": attached})
    calls: list[Call] = []

    def answer(call: Call) -> Any:
        calls.append(call)
        ids = [one["Id"] for one in call.params["MetricDataQueries"]]
        return {"MetricDataResults": [{"Id": one, "Timestamps": [NOW], "Values": [3.0]} for one in ids]}

    variant = VariantDescription(name="AllTraffic", instance_type="ml.m5.large")
    return _run(_scaling(live, variant, NOW - timedelta(hours=1), NOW, 60, []), answer), calls


def test_the_metrics_of_scaling_policies_are_read_with_their_own_dimensions() -> None:
    custom = {
        "Namespace": "Shop",
        "MetricName": "Carts",
        "Dimensions": [{"Name": "Shop", "Value": "eu"}],
        "Statistic": "Maximum",
    }
    predefined = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    found, (call,) = read_scaling(
        policy(PredefinedMetricSpecification=predefined),
        policy(CustomizedMetricSpecification=custom),
        policy(CustomizedMetricSpecification={"Metrics": [{"Id": "e", "Expression": "a / b"}]}),
    )
    stats = [one["MetricStat"] for one in call.params["MetricDataQueries"]]
    assert [(one["Metric"]["MetricName"], one["Stat"]) for one in stats] == [
        ("InvocationsPerInstance", "Sum"),
        ("Carts", "Maximum"),
    ]
    assert stats[1]["Metric"]["Dimensions"] == custom["Dimensions"]
    assert [one.values is None for one in found.policies] == [False, False, True]
    assert found.policies[1].values.values == (3.0,)
    assert (found.min, found.max, found.policies[0].target) == (1, 4, 7.0)


def test_step_policies_are_left_out() -> None:
    found, calls = read_scaling({"PolicyName": "steps", "StepScalingPolicyConfiguration": {}})
    assert found.policies == ()
    assert calls == []


PREFIX = "s3://ml-models/prod/"


def listed(*found: tuple[str, int, str, str]) -> tuple[Live, Callable[[Call], Any]]:
    """An endpoint with `scoring-1`, and an account with other configurations: name, age in hours, variant, models."""

    def model(uri: str) -> dict[str, Any]:
        return {"ModelName": uri, "PrimaryContainer": {"Mode": "MultiModel", "ModelDataUrl": uri}}

    def config(name: str, hours: int, variant: str, uri: str) -> dict[str, Any]:
        return {
            "EndpointConfigName": name,
            "CreationTime": NOW - timedelta(hours=hours),
            "ProductionVariants": [{"VariantName": variant, "ModelName": uri}],
        }

    configs = {
        one[0]: config(*one) for one in sorted((*found, ("scoring-1", 9, "AllTraffic", PREFIX)), key=lambda x: x[1])
    }

    def answer(call: Call) -> Any:
        match call.operation:
            case "list_endpoint_configs":
                return {"EndpointConfigs": list(configs.values())}
            case "describe_endpoint_config":
                return configs[call.params["EndpointConfigName"]]
            case _:
                return model(call.params["ModelName"])

    live = Live(
        description=EndpointDescription(
            name="scoring", status="InService", config_name="scoring-1", modified=NOW - timedelta(hours=2)
        ),
        config=configs["scoring-1"],
        models={PREFIX: model(PREFIX)},
    )
    return live, answer


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([("scoring-2", 3, "AllTraffic", PREFIX)], "scoring-2"),
        ([("scoring-2", 4, "AllTraffic", PREFIX), ("scoring-3", 3, "AllTraffic", PREFIX)], "scoring-3"),
        ([("scoring-0", 10, "AllTraffic", PREFIX)], None),  # older than the one in use
        ([("scoring-2", 1, "AllTraffic", PREFIX)], None),  # made after the change
        ([("scoring-eu-1", 3, "AllTraffic", "s3://ml-models/eu/")], None),  # of another endpoint
        ([("scoring-eu-1", 3, "blue", PREFIX)], None),
        ([], None),
    ],
)
def test_the_configuration_of_a_failed_update_is_that_of_this_endpoint(
    others: list[tuple[str, int, str, str]], expected: str | None
) -> None:
    live, answer = listed(*others)
    assert _run(_failed_config(live), answer) == expected


def test_recordings_of_other_endpoints_are_left_out() -> None:
    at = datetime(2026, 11, 27, tzinfo=UTC)
    mine, other = (RecordedMinute(at=at, endpoint=name, model="m", calls=1) for name in ("scoring", "other"))
    assert _checked([mine, other, MINUTE], "scoring") == (mine, MINUTE)

"""Test CloudWatch and STS with the protocols of old and new versions of botocore."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.exceptions import ClientError

from mme_sdk.exports import cloudwatch_dashboard
from mme_sdk.local.control.metrics import Metrics, Point
from mme_sdk.local.http.server import decompress
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.query import parse_form_parameters
from mme_sdk.local.wire.service_model import load_service_model

NOW = datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture(params=["json", "query", "smithy-rpc-v2-cbor"])
def cloudwatch(plane, request, monkeypatch):
    """A client for each protocol: JSON (newest botocore), query (botocore 1.40) and CBOR (other AWS clients)."""
    if request.param not in load_service_model("cloudwatch").metadata.get("protocols", ["query"]):
        pytest.skip(f"this botocore does not speak {request.param} to CloudWatch")
    session = plane.session()
    if request.param != "json":
        loader = session._session.get_component("data_loader")
        load = loader.load_service_model

        def older(service, type_name, api_version=None):
            model = load(service, type_name, api_version)
            if service == "cloudwatch" and type_name == "service-2":
                metadata = {k: v for k, v in model["metadata"].items() if k not in ("targetPrefix", "jsonVersion")}
                if request.param != "query":
                    metadata = model["metadata"]
                model = model | {"metadata": metadata | {"protocol": request.param, "protocols": [request.param]}}
            return model

        monkeypatch.setattr(loader, "load_service_model", older)
    client = session.client("cloudwatch", endpoint_url=plane.endpoint_url)
    assert client.meta.service_model.resolved_protocol == request.param
    yield client
    client.close()


def put(cloudwatch, namespace: str, **datum) -> None:
    cloudwatch.put_metric_data(
        Namespace=namespace,
        MetricData=[{"MetricName": "M", "Dimensions": [{"Name": "D", "Value": "1"}], "Timestamp": NOW} | datum],
    )


def window() -> dict:
    return {"StartTime": NOW - timedelta(minutes=5), "EndTime": NOW + timedelta(minutes=5)}


def test_what_is_put_comes_back_as_statistics_and_percentiles(cloudwatch, name):
    put(cloudwatch, name, Value=1.0, Unit="Count")
    put(cloudwatch, name, Values=[3.0, 5.0], Counts=[2.0, 1.0], Unit="Count")
    put(cloudwatch, name, StatisticValues={"SampleCount": 2, "Sum": 20, "Minimum": 9, "Maximum": 11}, Unit="Count")
    metric = {"Namespace": name, "MetricName": "M", "Dimensions": [{"Name": "D", "Value": "1"}]}
    found = cloudwatch.get_metric_statistics(
        **metric, **window(), Period=60, Statistics=["SampleCount", "Sum", "Average", "Minimum", "Maximum"]
    )
    assert found["Label"] == "M"
    point = found["Datapoints"][0]
    assert point["Timestamp"] == NOW
    assert (point["SampleCount"], point["Sum"], point["Minimum"], point["Maximum"]) == (6, 32, 1, 11)
    assert point["Unit"] == "Count"
    queries = [
        {"Id": f"q{i}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}}
        for i, stat in enumerate(["p50", "Average", "p100"])
    ]
    data = cloudwatch.get_metric_data(MetricDataQueries=queries, **window())["MetricDataResults"]
    assert [(one["Id"], one["Values"], one["StatusCode"]) for one in data] == [
        ("q0", [3.0], "Complete"),
        ("q1", [pytest.approx(32 / 6)], "Complete"),
        ("q2", [10.0], "Complete"),
    ]
    assert data[0]["Timestamps"] == [NOW]
    listed = cloudwatch.list_metrics(Namespace=name, Dimensions=[{"Name": "D"}])["Metrics"]
    assert listed == [metric]
    assert cloudwatch.list_metrics(Namespace=name, Dimensions=[{"Name": "D", "Value": "2"}])["Metrics"] == []


def test_a_large_request_comes_compressed(cloudwatch, name):
    data = [{"MetricName": f"metric-{number:0100d}", "Timestamp": NOW, "Value": 1.0} for number in range(200)]
    sent = []
    cloudwatch.meta.events.register("before-send", lambda request, **_: sent.append(dict(request.headers)))
    cloudwatch.put_metric_data(Namespace=name, MetricData=data)
    assert sent[0]["Content-Encoding"] in ("gzip", b"gzip")
    assert len(cloudwatch.list_metrics(Namespace=name)["Metrics"]) == 200


def test_what_unpacks_to_too_much_or_is_no_gzip_is_refused():
    zeros = gzip.compress(bytes(65 * 1024 * 1024))
    for body, code in ((zeros, "RequestEntityTooLarge"), (b"no gzip", "SerializationException")):
        with pytest.raises(ApiError) as caught:
            decompress(body, {"content-encoding": "gzip"})
        assert caught.value.code == code
    assert decompress(b"plain", {}) == b"plain"


def test_data_comes_in_pages_and_in_the_order_asked_for(cloudwatch, name):
    for minute in range(5):
        put(cloudwatch, name, Value=float(minute), Timestamp=NOW - timedelta(minutes=minute))
    metric = {"Namespace": name, "MetricName": "M", "Dimensions": [{"Name": "D", "Value": "1"}]}
    query = {"Id": "q", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[query], **window(), ScanBy="TimestampAscending", PaginationConfig={"PageSize": 2}
    )
    values = [page["MetricDataResults"][0]["Values"] for page in pages]
    assert values == [[4.0, 3.0], [2.0, 1.0], [0.0]]


def test_refusals_carry_their_code(cloudwatch, name):
    with pytest.raises(ClientError) as caught:
        put(cloudwatch, "AWS/SageMaker", Value=1.0)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"
    for wrong in ({}, {"Values": [1.0, 2.0], "Counts": [1.0]}):
        with pytest.raises(ClientError):
            put(cloudwatch, name, **wrong)
    metric = {"Metric": {"Namespace": name, "MetricName": "M"}, "Period": 60, "Stat": "IQM"}
    put(cloudwatch, name, Value=1.0, Dimensions=[])
    with pytest.raises(ClientError, match="'IQM' is not supported"):
        cloudwatch.get_metric_data(MetricDataQueries=[{"Id": "q", "MetricStat": metric}], **window())
    query = {"Id": "q", "Expression": "m1 + m2"}
    with pytest.raises(ClientError, match="names 'm1', which is not the id of another query"):
        cloudwatch.get_metric_data(MetricDataQueries=[query], **window())
    with pytest.raises(ClientError, match="DescribeAnomalyDetectors is not supported"):
        cloudwatch.describe_anomaly_detectors()


def test_an_alarm_is_kept_set_and_deleted(cloudwatch, name):
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace=name,
        MetricName="M",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",  # without data it stays in the state that it is set to
    )
    alarm = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
    assert (alarm["StateValue"], alarm["Threshold"]) == ("INSUFFICIENT_DATA", 1.0)
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    assert cloudwatch.describe_alarms(AlarmNamePrefix=name, StateValue="ALARM")["MetricAlarms"]
    cloudwatch.delete_alarms(AlarmNames=[name])
    assert cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"] == []
    with pytest.raises(ClientError) as caught:
        cloudwatch.delete_alarms(AlarmNames=[name])
    assert caught.value.response["Error"]["Code"] == "ResourceNotFound"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({}, "MissingParameter"),
        ({"Value": 2.0**361}, "InvalidParameterValue"),
        ({"Value": -(2.0**361)}, "InvalidParameterValue"),
        ({"Value": float("nan")}, "InvalidParameterValue"),
        ({"Value": float("inf")}, "InvalidParameterValue"),
        ({"Value": float("-inf")}, "InvalidParameterValue"),
        ({"Values": [1.0, float("nan")]}, "InvalidParameterValue"),
        ({"Values": [1.0] * 151}, "InvalidParameterValue"),
        ({"Values": [1.0, 2.0], "Counts": [1.0]}, "InvalidParameterValue"),
        ({"Values": [1.0], "Counts": [0.0]}, "InvalidParameterValue"),
        ({"Value": 1.0, "Values": [1.0]}, "InvalidParameterCombination"),
        (
            {"Value": 1.0, "StatisticValues": {"SampleCount": 1, "Sum": 1, "Minimum": 1, "Maximum": 1}},
            "InvalidParameterCombination",
        ),
        ({"StatisticValues": {"SampleCount": 0, "Sum": 1, "Minimum": 1, "Maximum": 1}}, "InvalidParameterValue"),
        ({"StatisticValues": {"SampleCount": 1, "Sum": 1, "Minimum": 2, "Maximum": 1}}, "InvalidParameterValue"),
        ({"Value": 1.0, "Timestamp": NOW - timedelta(days=15)}, "InvalidParameterValue"),
        ({"Value": 1.0, "Timestamp": NOW + timedelta(hours=3)}, "InvalidParameterValue"),
        ({"Value": 1.0, "Unit": "Parsecs"}, "InvalidParameterValue"),
    ],
)
def test_data_that_aws_refuses_is_refused_with_its_code(cloudwatch, name, wrong, code):
    with pytest.raises(ClientError) as caught:
        put(cloudwatch, name, **wrong)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert cloudwatch.list_metrics(Namespace=name)["Metrics"] == []


def test_values_of_different_units_are_not_merged(cloudwatch, name):
    for unit, value in (("Seconds", 1.0), ("Count", 10.0), (None, 100.0)):
        put(cloudwatch, name, Value=value, **({} if unit is None else {"Unit": unit}))
    metric = {"Namespace": name, "MetricName": "M", "Dimensions": [{"Name": "D", "Value": "1"}]}
    found = cloudwatch.get_metric_statistics(**metric, **window(), Period=60, Statistics=["Sum"])["Datapoints"]
    assert {(one["Unit"], one["Sum"]) for one in found} == {("Seconds", 1.0), ("Count", 10.0), ("None", 100.0)}
    only = cloudwatch.get_metric_statistics(**metric, **window(), Period=60, Statistics=["Sum"], Unit="Seconds")
    assert [one["Sum"] for one in only["Datapoints"]] == [1.0]


def test_a_label_says_what_differs(cloudwatch, name):
    def labels(*stats: tuple[str, int], **more) -> list[str]:
        queries = [
            {
                "Id": f"q{number}",
                "MetricStat": {"Metric": {"Namespace": name, "MetricName": "metric1"}, "Stat": stat, "Period": period},
                **more,
            }
            for number, (stat, period) in enumerate(stats)
        ]
        found = cloudwatch.get_metric_data(MetricDataQueries=queries, **window())
        assert found["Messages"] == []
        return [one["Label"] for one in found["MetricDataResults"]]

    assert labels(("Sum", 60), ("Sum", 60)) == ["metric1", "metric1"]
    assert labels(("Sum", 60), ("Average", 60)) == ["metric1 Sum", "metric1 Average"]
    assert labels(("Sum", 60), ("Sum", 300)) == ["metric1 60", "metric1 300"]
    assert labels(("Sum", 60), ("Average", 60), Label="mine") == ["mine", "mine"]


def test_a_query_that_aws_refuses_is_refused_with_its_code(cloudwatch, name):
    metric = {"Namespace": name, "MetricName": "M"}
    query = {"Id": "q", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}}
    for queries, more in (
        ([], {}),
        ([query, query], {}),
        ([query | {"Id": "Upper"}], {}),
        ([query | {"Id": "a-b"}], {}),
        ([query | {"ReturnData": False}], {}),
        ([{"Id": "q"}], {}),
        ([{"Id": "q", "MetricStat": {"Metric": metric, "Period": 7, "Stat": "Sum"}}], {}),
        ([query], {"StartTime": NOW, "EndTime": NOW}),
        ([query], {"MaxDatapoints": 0}),
        ([query], {"MaxDatapoints": 100_801}),
    ):
        with pytest.raises(ClientError) as caught:
            cloudwatch.get_metric_data(MetricDataQueries=queries, **window() | more)
        assert caught.value.response["Error"]["Code"] == "ValidationError", queries
    with pytest.raises(ClientError) as caught:
        cloudwatch.get_metric_data(MetricDataQueries=[query], **window(), NextToken="wrong!")
    assert caught.value.response["Error"]["Code"] == "InvalidNextToken"
    for wrong, code in (
        ({"EndTime": NOW - timedelta(hours=1)}, "InvalidParameterCombination"),
        ({"StartTime": NOW - timedelta(days=2)}, "InvalidParameterCombination"),
        ({"Period": 61}, "InvalidParameterValue"),
        ({"ExtendedStatistics": ["p101"]}, "InvalidParameterValue"),
    ):
        with pytest.raises(ClientError) as caught:
            cloudwatch.get_metric_statistics(**metric | {"Period": 60, "Statistics": ["Sum"]} | window() | wrong)
        assert caught.value.response["Error"]["Code"] == code, wrong


def test_who_am_i_and_a_wrong_key_in_the_words_of_sts(plane):
    sts = plane.boto("sts")
    assert sts.get_caller_identity()["Account"] == "123456789012"
    with pytest.raises(ClientError, match="GetSessionToken is not supported"):
        sts.get_session_token()
    sts.close()
    stranger = boto3.client(
        "sts",
        endpoint_url=plane.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="x",
    )
    with pytest.raises(ClientError) as caught:
        stranger.get_caller_identity()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    stranger.close()


def test_percentiles_weigh_values_by_how_often_they_were_seen():
    point = Point()
    for value in range(1, 101):
        point.add(float(value))
    assert [point.statistic(name) for name in ("p50", "p99", "p100", "p0")] == [50, 99, 100, 1]
    assert point.statistic("tm99") is None


def test_points_fall_into_periods():
    metrics = Metrics()
    for second in range(0, 300, 30):
        metrics.measure("Invocations", "e", "v", 1.0, at=second)
    key = ("AWS/SageMaker", "Invocations", (("EndpointName", "e"), ("VariantName", "v")))
    assert [(at, p.total) for at, p, _ in metrics.query(*key, 60, 240, 60)] == [(60, 2), (120, 2), (180, 2)]
    assert [(at, p.total) for at, p, _ in metrics.query(*key, 0, 300, 300)] == [(0, 10)]


def test_query_forms_nest():
    operation = load_service_model("cloudwatch").operation_model("PutMetricData")
    fields = {
        "Namespace": "n",
        "MetricData.member.1.MetricName": "a",
        "MetricData.member.1.Dimensions.member.1.Name": "d",
        "MetricData.member.1.Dimensions.member.1.Value": "1",
        "MetricData.member.2.MetricName": "b",
        "MetricData.member.2.Value": "1.5",
    }
    parsed = parse_form_parameters(operation, fields)
    assert parsed["MetricData"][0] == {"MetricName": "a", "Dimensions": [{"Name": "d", "Value": "1"}]}
    assert parsed["MetricData"][1] == {"MetricName": "b", "Value": 1.5}


def test_dashboards_are_checked_stored_listed_and_deleted(cloudwatch):
    body = json.dumps(cloudwatch_dashboard("scoring", region="us-east-1"))
    assert cloudwatch.put_dashboard(DashboardName="scoring-1", DashboardBody=body)["DashboardValidationMessages"] == []
    found = cloudwatch.get_dashboard(DashboardName="scoring-1")
    assert found["DashboardBody"] == body
    assert found["DashboardArn"] == "arn:aws:cloudwatch::123456789012:dashboard/scoring-1"
    wrong = '{"widgets": [{"type": "x", "properties": {}}]}'
    strange = '{"widgets": [], "colour": "red"}'
    (warned,) = cloudwatch.put_dashboard(DashboardName="scoring-2", DashboardBody=strange)[
        "DashboardValidationMessages"
    ]
    assert warned["DataPath"] == "/colour"
    listed = cloudwatch.list_dashboards(DashboardNamePrefix="scoring-")["DashboardEntries"]
    assert [(one["DashboardName"], one["Size"]) for one in listed] == [
        ("scoring-1", len(body)),
        ("scoring-2", len(strange)),
    ]
    with pytest.raises(ClientError, match=r"InvalidParameterInput.*there are 1 validation errors"):
        cloudwatch.put_dashboard(DashboardName="scoring-1", DashboardBody=wrong)
    with pytest.raises(ClientError, match=r"InvalidParameterInput.*name"):
        cloudwatch.put_dashboard(DashboardName="no good", DashboardBody=body)
    assert cloudwatch.get_dashboard(DashboardName="scoring-1")["DashboardBody"] == body
    with pytest.raises(ClientError, match=r"InvalidParameterValue.*At most 100"):
        cloudwatch.delete_dashboards(DashboardNames=[f"scoring-{number}" for number in range(101)])
    cloudwatch.delete_dashboards(DashboardNames=["scoring-1", "nothing", "scoring-2"])
    assert cloudwatch.list_dashboards(DashboardNamePrefix="scoring-")["DashboardEntries"] == []
    with pytest.raises(ClientError, match=r"ResourceNotFound"):
        cloudwatch.get_dashboard(DashboardName="scoring-1")

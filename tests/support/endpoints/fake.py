"""SageMaker's control plane in memory: it keeps whatever the service model allows, also what the embedded host refuses.

Every request is checked against botocore's model in full. Answers have what SageMaker adds to them: defaults, and the
address of the model data in a second form.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

from mme_sdk.aws import Aws, Call
from mme_sdk.errors import ConflictError, EndpointNotFoundError, InvalidInputError, NotFoundError
from tests.support.endpoints.wire_check import problems

_KINDS = {"model": ("ModelName", "Models"), "endpoint_config": ("EndpointConfigName", "EndpointConfigs")}
_ARNS = {"model": "ModelArn", "endpoint_config": "EndpointConfigArn", "endpoint": "EndpointArn"}


class InMemory(Aws):
    """The way to a control plane that lives in this object."""

    page = 2  # small pages, so that every list has several

    def __init__(self) -> None:
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
        super().__init__(session=session, region="us-east-1")
        self.there: dict[str, dict[str, dict[str, Any]]] = {"model": {}, "endpoint_config": {}, "endpoint": {}}
        self.tags: dict[str, dict[str, str]] = {}
        self.scaling: dict[str, dict[str, Any]] = {}
        self.alarms: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def do(self, operation: str, /, **params: Any) -> Any:
        """A call made by hand."""
        return self.send(Call(service=_service(operation), operation=operation, params=params))

    def send(self, call: Call) -> Any:
        self.calls.append(call.operation)
        found = problems(call.service, call.operation, call.params)
        if found:
            raise InvalidInputError(f"{call.operation}: {found}")
        self._now += timedelta(seconds=1)
        params = copy.deepcopy(call.params)
        special = getattr(self, f"_{call.operation}", None)
        if special is not None:
            return copy.deepcopy(special(params))
        verb, _, noun = call.operation.partition("_")
        kind = noun.removesuffix("s")
        if verb == "list":
            return copy.deepcopy(self._listed(kind, params))
        return copy.deepcopy(
            {"create": self._create, "describe": self._described, "delete": self._delete}[verb](kind, params)
        )

    def _create(self, kind: str, params: dict[str, Any]) -> Any:
        name = params[_KINDS[kind][0]]
        if name in self.there[kind]:
            raise ConflictError(f"{kind} {name} exists")
        arn = f"arn:aws:sagemaker:us-east-1:123456789012:{kind}/{name}"
        self.tags[arn] = {one["Key"]: one["Value"] for one in params.pop("Tags", [])}
        if kind == "model":
            params.setdefault("EnableNetworkIsolation", False)
            for one in [
                *params.get("Containers", []),
                *([params["PrimaryContainer"]] if "PrimaryContainer" in params else []),
            ]:
                one.setdefault("Mode", "SingleModel")
                if "ModelDataUrl" in one:
                    source = {"S3Uri": one["ModelDataUrl"], "S3DataType": "S3Object", "CompressionType": "Gzip"}
                    one["ModelDataSource"] = {"S3DataSource": source}
        else:
            for variant in params["ProductionVariants"]:
                variant.setdefault("InitialVariantWeight", 1.0)
                if "ModelName" in variant and variant["ModelName"] not in self.there["model"]:
                    raise NotFoundError(f"Could not find model {variant['ModelName']}")
        self.there[kind][name] = params | {_ARNS[kind]: arn, "CreationTime": self._now}
        return {}

    def _find(self, kind: str, name: str) -> dict[str, Any]:
        if name not in self.there[kind]:
            raise (EndpointNotFoundError if kind == "endpoint" else NotFoundError)(f"Could not find {kind} {name}")
        return self.there[kind][name]

    def _described(self, kind: str, params: dict[str, Any]) -> Any:
        return self._find(kind, params[_KINDS[kind][0]])

    def _delete(self, kind: str, params: dict[str, Any]) -> Any:
        gone = self._find(kind, params[_KINDS[kind][0]])
        del self.there[kind][params[_KINDS[kind][0]]], self.tags[gone[_ARNS[kind]]]
        return {}

    def _listed(self, kind: str, params: dict[str, Any]) -> Any:
        name, member = ("EndpointName", "Endpoints") if kind == "endpoint" else _KINDS[kind]
        found = [
            one
            for one in self.there[kind].values()
            if params.get("NameContains", "").lower() in one[name].lower()
            and one["CreationTime"] > params.get("CreationTimeAfter", datetime.min.replace(tzinfo=UTC))
            and one.get("LastModifiedTime", self._now)
            > params.get("LastModifiedTimeAfter", datetime.min.replace(tzinfo=UTC))
        ]
        found.sort(key=lambda one: one["CreationTime"], reverse=True)
        start = int(params.get("NextToken", 0))
        page = found[start : start + self.page]
        more = {"NextToken": str(start + self.page)} if start + self.page < len(found) else {}
        return {member: [{k: one[k] for k in (name, _ARNS[kind], "CreationTime")} for one in page], **more}

    def _create_endpoint(self, params: dict[str, Any]) -> Any:
        name = params["EndpointName"]
        if name in self.there["endpoint"]:
            raise ConflictError(f"endpoint {name} exists")
        config = self._find("endpoint_config", params["EndpointConfigName"])
        arn = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}"
        self.tags[arn] = {one["Key"]: one["Value"] for one in params.pop("Tags", [])}
        document = {"EndpointName": name, "EndpointArn": arn, "EndpointStatus": "InService", "CreationTime": self._now}
        self.there["endpoint"][name] = document
        self._serve(document, config, {})
        return {"EndpointArn": arn}

    def _serve(self, document: dict[str, Any], config: dict[str, Any], kept: dict[str, dict[str, Any]]) -> None:
        document |= {
            "LastModifiedTime": self._now,
            "EndpointConfigName": config["EndpointConfigName"],
            "Variants": config["ProductionVariants"],
            "ProductionVariants": [
                _summary(one, kept.get(one["VariantName"], {})) for one in config["ProductionVariants"]
            ],
        }

    def _describe_endpoint(self, params: dict[str, Any]) -> Any:
        return {k: v for k, v in self._find("endpoint", params["EndpointName"]).items() if k != "Variants"}

    def _update_endpoint(self, params: dict[str, Any]) -> Any:
        document = self._find("endpoint", params["EndpointName"])
        config = self._find("endpoint_config", params["EndpointConfigName"])
        types = {one["VariantName"]: one.get("InstanceType") for one in config["ProductionVariants"]}
        for one in document["Variants"]:
            name = one["VariantName"]
            if f"endpoint/{params['EndpointName']}/variant/{name}" in self.scaling and (
                name not in types or types[name] != one.get("InstanceType")
            ):
                raise InvalidInputError(f"{name} must be deregistered as scalable target")
        kept = {one["VariantName"]: one for one in document["ProductionVariants"]}
        self._serve(document, config, kept if params.get("RetainAllVariantProperties") else {})
        return {}

    def _update_endpoint_weights_and_capacities(self, params: dict[str, Any]) -> Any:
        document = self._find("endpoint", params["EndpointName"])
        for wanted in params["DesiredWeightsAndCapacities"]:
            one = next(each for each in document["ProductionVariants"] if each["VariantName"] == wanted["VariantName"])
            for member in ("InstanceCount", "Weight"):
                if f"Desired{member}" in wanted:
                    one |= {
                        f"Desired{member}": wanted[f"Desired{member}"],
                        f"Current{member}": wanted[f"Desired{member}"],
                    }
        return {}

    def _delete_endpoint(self, params: dict[str, Any]) -> Any:
        gone = self._find("endpoint", params["EndpointName"])
        del self.there["endpoint"][params["EndpointName"]], self.tags[gone["EndpointArn"]]
        return {}

    def _list_tags(self, params: dict[str, Any]) -> Any:
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._tags_of(params).items()]}

    def _add_tags(self, params: dict[str, Any]) -> Any:
        self._tags_of(params).update({one["Key"]: one["Value"] for one in params["Tags"]})
        return {}

    def _delete_tags(self, params: dict[str, Any]) -> Any:
        for key in params["TagKeys"]:
            self._tags_of(params).pop(key, None)
        return {}

    def _tags_of(self, params: dict[str, Any]) -> dict[str, str]:
        if params["ResourceArn"] not in self.tags:
            raise NotFoundError(f"Could not find resource {params['ResourceArn']}")
        return self.tags[params["ResourceArn"]]

    def _register_scalable_target(self, params: dict[str, Any]) -> Any:
        one = self.scaling.setdefault(params["ResourceId"], {"policies": {}, "actions": {}})
        one["target"] = params
        return {}

    def _deregister_scalable_target(self, params: dict[str, Any]) -> Any:
        if self.scaling.pop(params["ResourceId"], None) is None:
            raise NotFoundError("no such target")
        return {}

    def _put_scaling_policy(self, params: dict[str, Any]) -> Any:
        policies = self.scaling[params["ResourceId"]]["policies"]
        number = f"{self._now:%H%M%S}"
        arn = policies.get(params["PolicyName"], {}).get("PolicyARN", f"arn:policy/{number}/{params['PolicyName']}")
        policies[params["PolicyName"]] = params | {"PolicyARN": arn}
        return {"PolicyARN": arn}

    def _put_metric_alarm(self, params: dict[str, Any]) -> Any:
        self.alarms[params["AlarmName"]] = params | {"ActionsEnabled": True, "OKActions": []}
        return {}

    def _describe_alarms(self, params: dict[str, Any]) -> Any:
        prefix, names = params.get("AlarmNamePrefix", ""), params.get("AlarmNames", self.alarms)
        found = [one for name, one in self.alarms.items() if name in names and name.startswith(prefix)]
        return {"MetricAlarms": found}

    def _delete_alarms(self, params: dict[str, Any]) -> Any:
        for name in params["AlarmNames"]:
            self.alarms.pop(name, None)
        return {}

    def _delete_scaling_policy(self, params: dict[str, Any]) -> Any:
        if self.scaling[params["ResourceId"]]["policies"].pop(params["PolicyName"], None) is None:
            raise NotFoundError("no such policy")
        return {}

    def _put_scheduled_action(self, params: dict[str, Any]) -> Any:
        self.scaling[params["ResourceId"]]["actions"][params["ScheduledActionName"]] = params
        return {}

    def _describe_scalable_targets(self, params: dict[str, Any]) -> Any:
        return {"ScalableTargets": [v["target"] for k, v in self.scaling.items() if k in params["ResourceIds"]]}

    def _describe_scaling_policies(self, params: dict[str, Any]) -> Any:
        return {"ScalingPolicies": list(self.scaling[params["ResourceId"]]["policies"].values())}

    def _describe_scheduled_actions(self, params: dict[str, Any]) -> Any:
        return {"ScheduledActions": list(self.scaling[params["ResourceId"]]["actions"].values())}


def _service(operation: str) -> str:
    scaling = ("scal", "scheduled")
    return "application-autoscaling" if any(one in operation for one in scaling) else "sagemaker"


def _summary(variant: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    count = 0 if "ServerlessConfig" in variant else variant.get("InitialInstanceCount")
    weight = kept.get("DesiredWeight", variant["InitialVariantWeight"])
    if kept and "ServerlessConfig" not in variant and kept.get("DesiredInstanceCount"):
        count = kept["DesiredInstanceCount"]
    sizes = {} if count is None else {"CurrentInstanceCount": count, "DesiredInstanceCount": count}
    return {"VariantName": variant["VariantName"], "CurrentWeight": weight, "DesiredWeight": weight, **sizes}

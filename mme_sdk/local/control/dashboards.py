"""CloudWatch dashboards: their operations, and the rules of a body. This host stores a dashboard; it shows none.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.metrics import is_percentile
from mme_sdk.local.control.sagemaker.resources import paginate
from mme_sdk.local.control.store import Store
from mme_sdk.local.wire.errors import ApiError

__all__ = ["Dashboards", "problems"]

_MOST_DELETED = 100
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_ID = re.compile(r"[a-z][a-zA-Z0-9_]{0,254}")
_COLUMNS = 24
_MAX_WIDGETS, _MAX_METRICS, _MAX_HEIGHT, _MAX_DIMENSIONS = 500, 500, 1000, 30
_PAGE = 1000
_BODY = {"start": str, "end": str, "periodOverride": str, "variables": list, "widgets": list}
_TYPES = ("metric", "text", "log", "alarm", "explorer", "custom", "chart")
_METRIC = {
    "accountId": str, "annotations": dict, "end": str, "gauge": dict, "legend": dict, "liveData": bool, "metrics": list,
    "period": int, "region": str, "setPeriodToTimeRange": bool, "singleValueFullPrecision": bool, "sparkline": bool,
    "stacked": bool, "start": str, "stat": str, "table": dict, "timezone": str, "title": str, "trend": bool,
    "view": str, "yAxis": dict,
}  # fmt: skip
_VIEWS = ("timeSeries", "singleValue", "gauge", "bar", "pie", "table")
_LINE = {
    "accountId": str, "color": str, "expression": str, "id": str, "label": str, "period": int, "region": str,
    "stat": str, "visible": bool, "yAxis": str,
}  # fmt: skip
_STATISTICS = ("Average", "Sum", "Minimum", "Maximum", "SampleCount", "IQM")
_TRIMMED = re.compile(r"(?:tm|wm|tc|ts|pr)\d{1,2}(?:\.\d{1,10})?|(?:TM|WM|TC|TS|PR)\([\d.%]*:[\d.%]*\)")
Problem = tuple[str, str]  # JSON pointer and message


class Dashboards:
    """The dashboards of the `cloudwatch` service.

    Args:
        store: Holds the dashboards.
        account: The account of the dashboards.
        now: Function that returns the current time.
    """

    def __init__(self, store: Store, account: Account, now: Callable[[], datetime]) -> None:
        self._store, self._account, self._now = store, account, now
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "DeleteDashboards": self._delete,
            "GetDashboard": self._get,
            "ListDashboards": self._list,
            "PutDashboard": self._put,
        }

    def _put(self, params: dict[str, Any]) -> dict[str, Any]:
        name, body = params["DashboardName"], params["DashboardBody"]
        if not _NAME.fullmatch(name):
            raise ApiError(
                "InvalidParameterInput", f"The dashboard name {name!r} is not valid: A-Z, a-z, 0-9, - and _."
            )
        errors, warnings = problems(body)
        if errors:
            shown = json.dumps([{"dataPath": path, "message": message} for path, message in errors])
            raise ApiError(
                "InvalidParameterInput",
                f"The dashboard body is invalid, there are {len(errors)} validation errors: {shown}",
            )
        self._store.put("dashboard", name, {"Body": body, "LastModified": self._now()})
        return {"DashboardValidationMessages": [{"DataPath": path, "Message": message} for path, message in warnings]}

    def _get(self, params: dict[str, Any]) -> dict[str, Any]:
        name = params["DashboardName"]
        found = self._store.get("dashboard", name)
        if found is None:
            raise ApiError("ResourceNotFound", f"Dashboard {name} does not exist", status=404)
        return {"DashboardArn": self._arn(name), "DashboardBody": found["Body"], "DashboardName": name}

    def _list(self, params: dict[str, Any]) -> dict[str, Any]:
        entries = [
            {
                "DashboardName": name,
                "DashboardArn": self._arn(name),
                "LastModified": one["LastModified"],
                "Size": len(one["Body"].encode()),
            }
            for name, one in self._store.all("dashboard")
            if name.startswith(params.get("DashboardNamePrefix", ""))
        ]
        return paginate(entries, params, "DashboardEntries", default=_PAGE, code="InvalidParameterValue")

    def _delete(self, params: dict[str, Any]) -> dict[str, Any]:
        names = params["DashboardNames"]
        if len(names) > _MOST_DELETED:
            raise ApiError("InvalidParameterValue", f"At most {_MOST_DELETED} dashboards can be deleted at a time.")
        for name in names:  # CloudWatch's service model has no error for one that does not exist
            self._store.delete("dashboard", name)
        return {}

    def _arn(self, name: str) -> str:
        return self._account.arn_of("cloudwatch", f"dashboard/{name}", regional=False)


def problems(text: str) -> tuple[list[Problem], list[Problem]]:
    """Return the errors of a dashboard's body, which keep it from being stored, and the warnings.

    Args:
        text: The body.

    Returns:
        Errors and warnings, each as JSON pointer and message.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [("", f"The field DashboardBody must be a valid JSON object: {error}")], []
    if not isinstance(body, dict):
        return [("", "The field DashboardBody must be a valid JSON object")], []
    errors, warnings = [*_of_kind(body, _BODY, "")], [*_unknown(body, _BODY, "")]
    if body.get("periodOverride", "auto") not in ("auto", "inherit"):
        errors.append(("/periodOverride", "Should be one of auto, inherit"))
    widgets = body.get("widgets")
    if widgets is None:
        errors.append(("", "Should have the required property 'widgets'"))
    elif isinstance(widgets, list):
        if len(widgets) > _MAX_WIDGETS:
            errors.append(("/widgets", f"Should NOT have more than {_MAX_WIDGETS} items"))
        for place, widget in enumerate(widgets):
            path = f"/widgets/{place}"
            if not isinstance(widget, dict):
                errors.append((path, "Should be an object"))
                continue
            errors += _widget(widget, path)
            properties = widget.get("properties")
            if widget.get("type") == "metric" and isinstance(properties, dict):
                errors += _metric_widget(properties, f"{path}/properties")
                warnings += _unknown(properties, _METRIC, f"{path}/properties")
    return errors, warnings


def _of_kind(found: Mapping[str, Any], kinds: Mapping[str, type], path: str) -> Iterator[Problem]:
    names = {str: "a string", int: "an integer", bool: "a boolean", list: "an array", dict: "an object"}
    for key, kind in kinds.items():
        if key in found and (not isinstance(found[key], kind) or (kind is int and isinstance(found[key], bool))):
            yield f"{path}/{key}", f"Should be {names[kind]}"


def _unknown(found: Mapping[str, Any], known: Mapping[str, Any], path: str) -> Iterator[Problem]:
    return ((f"{path}/{key}", "This property is not known and is ignored") for key in found if key not in known)


def _widget(widget: Mapping[str, Any], path: str) -> Iterator[Problem]:
    if widget.get("type") not in _TYPES:
        yield f"{path}/type", f"Should be one of {', '.join(_TYPES)}"
    if not isinstance(widget.get("properties"), dict):
        yield path, "Should have the required property 'properties', an object"
    limits = {"x": (0, _COLUMNS - 1), "y": (0, None), "width": (1, _COLUMNS), "height": (1, _MAX_HEIGHT)}
    valid = True
    for name, (least, most) in limits.items():
        value = widget.get(name, least)
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or value < least
            or (most is not None and value > most)
        ):
            valid = False
            yield (
                f"{path}/{name}",
                f"Should be an integer of {least} or more{'' if most is None else f', at most {most}'}",
            )
    if valid and widget.get("x", 0) + widget.get("width", 6) > _COLUMNS:
        yield path, f"x and width should be at most {_COLUMNS} together"


def _metric_widget(properties: Mapping[str, Any], path: str) -> Iterator[Problem]:
    yield from _of_kind(properties, _METRIC, path)
    annotations = properties.get("annotations")
    if "metrics" not in properties and not (isinstance(annotations, dict) and annotations.get("alarms")):
        yield path, "Should have the required property 'metrics', or an alarm in 'annotations'"
    if not properties.get("region"):
        yield path, "Should have the required property 'region'"
    if properties.get("view", "timeSeries") not in _VIEWS:
        yield f"{path}/view", f"Should be one of {', '.join(_VIEWS)}"
    yield from _shared(properties, path)
    lines = properties.get("metrics")
    if not isinstance(lines, list):
        return
    if len(lines) > _MAX_METRICS:
        yield f"{path}/metrics", f"Should NOT have more than {_MAX_METRICS} items"
    ids: set[str] = set()
    before = 0  # number of texts of the line above, which "..." repeats
    for place, line in enumerate(lines):
        where = f"{path}/metrics/{place}"
        if not isinstance(line, list) or not line:
            yield where, "Should be an array with at least one item"
            continue
        options = line[-1] if isinstance(line[-1], dict) else {}
        texts = line[:-1] if options or isinstance(line[-1], dict) else line
        yield from _line(texts, options, where, before)
        if texts:
            before = before if "..." in texts else len(texts)
        identity = options.get("id")
        if isinstance(identity, str):
            if identity in ids:
                yield f"{where}/id", f"The id {identity} is used twice"
            ids.add(identity)


def _line(texts: list[Any], options: Mapping[str, Any], path: str, before: int) -> Iterator[Problem]:
    yield from _of_kind(options, _LINE, path)
    yield from _shared(options, path)
    if isinstance(options.get("id"), str) and not _ID.fullmatch(options["id"]):
        yield f"{path}/id", "Should begin with a lower-case letter, and have letters, digits and _ only"
    if options.get("yAxis", "left") not in ("left", "right"):
        yield f"{path}/yAxis", "Should be one of left, right"
    for key in options:
        if key not in _LINE:
            yield (
                path,
                f"Should NOT have the property {key} in its object; a dimension is two strings before it",
            )
    wrong = [place for place, one in enumerate(texts) if not isinstance(one, str)]
    for place in wrong:
        yield f"{path}/{place}", "Invalid metric field type, only 'String' type is allowed"
    if wrong:
        return
    if "expression" in options:
        if texts:
            yield path, "An expression should be the only item of its array"
    elif "..." in texts:
        if texts[0] != "..." or not before:
            yield path, "'...' repeats the metric above, and should be the first item"
    elif len(texts) < 2 or len(texts) % 2:
        yield path, "Should have a namespace, a metric name, and a name and a value of each dimension"
    elif len(texts) > 2 + 2 * _MAX_DIMENSIONS:
        yield path, f"Should NOT have more than {_MAX_DIMENSIONS} dimensions"
    elif "." in texts and any(one == "." and place >= before for place, one in enumerate(texts)):
        yield path, "'.' repeats an item of the metric above, which has none there"


def _shared(found: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Check what a widget and a line both have."""
    period, statistic = found.get("period", 60), found.get("stat", "Average")
    if isinstance(period, int) and (period < 1 or (period not in (1, 5, 10, 20, 30) and period % 60)):
        yield f"{path}/period", "Should be 1, 5, 10, 20, 30, or a multiple of 60"
    known = not isinstance(statistic, str) or statistic in _STATISTICS or is_percentile(statistic)
    if not known and not _TRIMMED.fullmatch(statistic):
        yield f"{path}/stat", f"{statistic} is not a statistic"

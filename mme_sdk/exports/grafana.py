"""A dashboard of Grafana for the recorder's counters in Prometheus.

Source of the structure: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mme_sdk.errors import InvalidInputError
from mme_sdk.exports.panels import PANELS, Panel, check_target

__all__ = ["grafana_dashboard"]

_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 8
_SCHEMA = 39
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def grafana_dashboard(
    endpoint: str, *, variants: Sequence[str] = (), panels: Sequence[Panel] = PANELS
) -> dict[str, Any]:
    """Return a dashboard of Grafana: one panel for each panel with a counter of the recorder.

    The dashboard has a variable `datasource`, which selects the Prometheus data source.

    Args:
        endpoint: Name of the endpoint.
        variants: Names of the production variants to show. Default: none, all of them.
        panels: What to show; panels without `recorded` are left out. Default: `PANELS`.

    Returns:
        The dashboard: `json.dumps` of it is a file for the import of Grafana, or for provisioning.

    Raises:
        InvalidInputError: An argument is not valid, or no panel has a counter of the recorder.

    Example:
        ```python
        Path("scoring.json").write_text(json.dumps(grafana_dashboard("scoring"), indent=2))
        ```
    """
    names, found = check_target(endpoint, variants or ("AllTraffic",), panels)
    selector = f'endpoint="{endpoint}"'
    if variants:
        selector += f', variant=~"{"|".join(names)}"'
    shown = [one for one in found if one.recorded is not None]
    if not shown:
        raise InvalidInputError("panels: no panel has a counter of the recorder", hint="give Panel(recorded=…)")
    return {
        "title": f"SageMaker endpoint {endpoint}",
        "tags": ["sagemaker"],
        "timezone": "browser",
        "editable": True,
        "schemaVersion": _SCHEMA,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "annotations": {"list": []},
        "links": [],
        "panels": [_panel(place, panel, selector) for place, panel in enumerate(shown)],
    }


def _panel(place: int, panel: Panel, selector: str) -> dict[str, Any]:
    row, column = divmod(place, _COLUMNS)
    rates = {"count": "reqps", "s": "s", "share": "percentunit", "percent": "percent", "bytes": "Bps"}
    defaults: dict[str, Any] = {"unit": rates[panel.unit], "min": 0}
    if panel.unit == "share":
        defaults["max"] = 1
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": dict(_SOURCE),
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}},
        "targets": [
            {
                "refId": "A",
                "datasource": dict(_SOURCE),
                "expr": _query(panel, selector),
                "legendFormat": f"{{{{{panel.by}}}}}",
                "range": True,
            }
        ],
    }


def _query(panel: Panel, selector: str) -> str:
    value = _rate(panel, str(panel.recorded), selector)
    return value if panel.per is None else f"{value} / {_rate(panel, panel.per, selector)}"


def _rate(panel: Panel, counter: str, selector: str) -> str:
    return f"sum by ({panel.by}) (rate(mme_recorded_{counter}_total{{{selector}}}[$__rate_interval]))"

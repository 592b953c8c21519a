"""Files that describe an endpoint for other tools: CloudFormation, Terraform, CDK, dashboards and alarms.

Each function returns data or text, and calls nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mme_sdk._lazy import lazy_names

if TYPE_CHECKING:
    from mme_sdk.exports.cdk import cdk_program
    from mme_sdk.exports.cloudformation import cloudformation_template
    from mme_sdk.exports.cloudwatch import alarms, cloudwatch_dashboard
    from mme_sdk.exports.grafana import grafana_dashboard
    from mme_sdk.exports.panels import PANELS, Panel
    from mme_sdk.exports.terraform import terraform_configuration

__all__ = [
    "PANELS",
    "Panel",
    "alarms",
    "cdk_program",
    "cloudformation_template",
    "cloudwatch_dashboard",
    "grafana_dashboard",
    "terraform_configuration",
]

_MODULES = {
    "PANELS": "exports.panels",
    "Panel": "exports.panels",
    "alarms": "exports.cloudwatch",
    "cdk_program": "exports.cdk",
    "cloudformation_template": "exports.cloudformation",
    "cloudwatch_dashboard": "exports.cloudwatch",
    "grafana_dashboard": "exports.grafana",
    "terraform_configuration": "exports.terraform",
}

__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)

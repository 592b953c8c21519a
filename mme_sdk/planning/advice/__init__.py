"""From figures to advice."""

from mme_sdk.planning.advice.advise import instance_types, plan
from mme_sdk.planning.advice.inputs import SLO, Assumptions
from mme_sdk.planning.advice.option import Confirmation, Option
from mme_sdk.planning.advice.plan import Plan
from mme_sdk.planning.advice.setting import Dedicated, Estimate, Setting

__all__ = [
    "SLO",
    "Assumptions",
    "Confirmation",
    "Dedicated",
    "Estimate",
    "Option",
    "Plan",
    "Setting",
    "instance_types",
    "plan",
]

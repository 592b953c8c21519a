"""A plan is drawn."""

from mme_sdk.planning import Workload, plan

plan(Workload.from_rates({"a": 1.0, "b": 0.1})).plot().savefig("plan.png")

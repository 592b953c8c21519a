"""A plan is made and written as text."""

from mme_sdk.planning import Workload, load_prices, plan

made = plan(Workload.from_rates({"a": 1.0, "b": 0.1}), prices=load_prices())
assert "ml." in str(made.report())

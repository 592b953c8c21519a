"""Checks of what SageMaker does, to run against AWS or against the embedded SageMaker.

Each check names the line of `docs/contract.md` that it observes. `python -m mme_sdk.conformance --help` runs them.
"""

from mme_sdk.conformance.check import Check, Outcome, all_checks
from mme_sdk.conformance.run import Report, run_checks

__all__ = ["Check", "Outcome", "Report", "all_checks", "run_checks"]

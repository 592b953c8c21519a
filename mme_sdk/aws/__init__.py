"""Access to AWS. Only this package imports boto3 and botocore, and only when the first client is created.

Operations are written as *flows*: generators that yield effects (`Call`, `Sleep`, `Do`, `Together`) and receive the
results. `Aws.run` runs a flow in a thread, `Aws.arun` runs the same flow on an event loop. So the synchronous and the
asynchronous clients behave the same.
"""

from mme_sdk._flows.effects import Call, Do, Effect, Flow, Sleep, Together, cleaned
from mme_sdk.aws.session import Aws

__all__ = ["Aws", "Call", "Do", "Effect", "Flow", "Sleep", "Together", "cleaned"]

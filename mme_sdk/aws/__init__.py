"""The only room that imports boto3 and botocore, and only when a client is first needed.

What happens against AWS is written as *flows*: generators that yield effects (`Call`, `Sleep`, `Do`, `Together`) and
get the results sent back. `Aws.run` and `Aws.arun` drive the same flow in a thread or on an event loop, so that the
synchronous and asynchronous clients cannot differ in what they do.
"""

from mme_sdk._effects import Call, Do, Effect, Flow, Sleep, Together, cleaned
from mme_sdk.aws.session import Aws

__all__ = ["Aws", "Call", "Do", "Effect", "Flow", "Sleep", "Together", "cleaned"]

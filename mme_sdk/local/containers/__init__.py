"""Container programs: they serve models over the HTTP contract of a SageMaker container."""

from mme_sdk.local.containers.command import PYTHON, Command, command_for
from mme_sdk.local.containers.recipes import multi_model_server, triton

__all__ = ["PYTHON", "Command", "command_for", "multi_model_server", "triton"]

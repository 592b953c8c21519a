"""Programs that serve models the way a SageMaker container does."""

from mme_sdk.local.containers.command import PYTHON, Command, command_for
from mme_sdk.local.containers.recipes import multi_model_server, triton

__all__ = ["PYTHON", "Command", "command_for", "multi_model_server", "triton"]

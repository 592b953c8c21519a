"""Programs that serve models the way a SageMaker container does."""

from mme_sdk.local.containers.command import PYTHON, Command, command_for

__all__ = ["PYTHON", "Command", "command_for"]

"""An image as a program."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Mapping, Sequence

import attrs

from mme_sdk.errors import InvalidInputError

__all__ = ["PYTHON", "Command", "command_for"]


def _words(value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str) or not value or not all(isinstance(one, str) for one in value):
        raise InvalidInputError(f"a Command is a list of words, such as ['serve', '--port', '{{port}}'], not {value!r}")
    return tuple(value)


@attrs.frozen
class Command:
    """A program that serves models as a SageMaker container does: any that speaks the contract on 127.0.0.1.

    In its words and environment `{port}` stands for the TCP port to listen on, `{memory}` for the bytes of memory that
    models may take, `{directory}` for a folder of its own, and, in `single`, `{model}` for the extracted archive.

    A program that can listen on a unix socket uses `{socket}`, a path in a folder that only its user can enter, and
    no port. One that listens on the port serves every process of this machine, unless it checks the key: the first line
    of its standard input, which every request of the host carries in the header `X-Mme-Sdk-Key`.

    Attributes:
        argv: Program and arguments of a multi-model container.
        single: Program and arguments of a single-model container; as `argv` where None.
        environment: Variables beside those of the model.
        multi_model: Whether the image carries the label `com.amazonaws.sagemaker.capabilities.multi-models=true`.
        target_is_id: Whether it finds models by the header X-Amzn-SageMaker-Target-Model in the place of the URL: then
            the header carries the model's opaque id.
        isolated: Whether the program may be kept from all files but the system's, its interpreter's, its models' and
            its temporary ones, where the platform can and `HostingSettings.isolate` is on.

    Example:
        >>> Command(["my-server", "--port", "{port}"]).multi_model
        True
    """

    argv: tuple[str, ...] = attrs.field(converter=_words)
    single: tuple[str, ...] | None = attrs.field(default=None, converter=attrs.converters.optional(_words))
    environment: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    multi_model: bool = attrs.field(default=True, kw_only=True)
    target_is_id: bool = attrs.field(default=False, kw_only=True)
    isolated: bool = attrs.field(default=False, kw_only=True)

    @property
    def on_socket(self) -> bool:
        """Whether it listens on a unix socket."""
        return any("{socket}" in word for word in (*self.argv, *(self.single or ()), *self.environment.values()))

    def words(self, *, single: bool, values: Mapping[str, str]) -> tuple[str, ...]:
        """The command line.

        Args:
            single: For a single-model container.
            values: What the placeholders stand for.

        Returns:
            Program and arguments.
        """
        chosen = self.single if single and self.single is not None else self.argv
        return tuple(_filled(word, values) for word in chosen)

    def variables(self, values: Mapping[str, str]) -> dict[str, str]:
        """The environment, with what the placeholders stand for."""
        return {name: _filled(value, values) for name, value in self.environment.items()}


def _filled(word: str, values: Mapping[str, str]) -> str:
    # Not str.format: braces are common in the arguments of servers.
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


_MODULE = "mme_sdk.local.containers.python"
_SERVE = (sys.executable, "-m", _MODULE, "--port", "{port}", "--exit-with-stdin", "--key-from-stdin")

PYTHON = Command([*_SERVE, "--memory-budget", "{memory}"], [*_SERVE, "--model", "{model}"], isolated=True)
"""The default container."""


def command_for(image: str, images: Mapping[str, Command]) -> Command:
    """The program that stands for an image.

    Args:
        image: As given to CreateModel.
        images: Programs by image name; `*` in a name stands for anything.

    Returns:
        That of the exact name, else of the first pattern that fits, else the Python container.
    """
    if image in images:
        return images[image]
    return next((command for name, command in images.items() if fnmatch.fnmatchcase(image, name)), PYTHON)

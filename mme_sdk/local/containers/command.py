"""`Command`: the program that runs in place of a container image."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Mapping, Sequence

import attrs

from mme_sdk.errors import InvalidInputError

__all__ = ["PYTHON", "Command", "command_for"]


def _words(value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str) or not value or not all(isinstance(one, str) for one in value):
        raise InvalidInputError(
            f"a Command takes a list of strings, such as ['serve', '--port', '{{port}}'], not {value!r}"
        )
    return tuple(value)


@attrs.frozen
class Command:
    """The program that runs in place of a container image. It implements the HTTP contract of a SageMaker container.

    Arguments and environment values can contain placeholders. `{port}` is the TCP port on 127.0.0.1 to listen on,
    `{memory}` the memory for models in bytes, `{directory}` the working directory of the container, and, in `single`,
    `{model}` the folder of the extracted archive.

    A program that can listen on a unix socket uses `{socket}` instead of `{port}`. The socket is in a folder that only
    the user of the host can enter. Every process of this machine can reach a TCP port. Such a program should check the
    key: the host writes it as the first line of standard input, and sends it in the header `X-Mme-Sdk-Key` of every
    request.

    Attributes:
        argv: Program and arguments of a multi-model container.
        single: Program and arguments of a single-model container. Default None: `argv`.
        environment: Environment variables in addition to those of the model. Default none.
        multi_model: Whether the image has the label `com.amazonaws.sagemaker.capabilities.multi-models=true`. Without
            it, CreateEndpoint fails for models with Mode=MultiModel. Default True.
        target_is_id: Whether the program reads the id of the model from the header X-Amzn-SageMaker-Target-Model
            instead of the URL. Default False.
        model_repository: Whether the program loads model repositories of Triton, which hold a folder for each model.
            An archive with `config.pbtxt` at the top is then loaded as the folder `model` of a repository, as on
            SageMaker. Default False.
        opt_ml: Whether a single-model container finds the folder of its model at `/opt/ml/model`, as on SageMaker. The
            host mounts it there for the program only. This requires Linux and the permission to create a mount
            namespace: where the kernel refuses it, the creation of the endpoint fails. None: the folder is mounted
            where the kernel permits it, without a failure elsewhere. Default False. In each case `{model}` and the
            variable SM_MODEL_DIR hold the path.
        requirements_for: The Python interpreter that runs the models of this program. With
            `HostingSettings(install_requirements=True)`, the packages of a model's `requirements.txt` are installed for
            it; the program finds them in the virtual environment `environment` beside the folder of the model.
            Default None: the program does not use them.
        isolated: Whether the program runs without access to files other than the system, its interpreter, its models
            and its temporary files. Requires Linux with Landlock, and `HostingSettings.isolate`. Default False.

    Raises:
        InvalidInputError: `argv` or `single` is empty or is not a list of strings.

    Example:
        >>> Command(["my-server", "--port", "{port}"]).multi_model
        True
    """

    argv: tuple[str, ...] = attrs.field(converter=_words)
    single: tuple[str, ...] | None = attrs.field(default=None, converter=attrs.converters.optional(_words))
    environment: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    multi_model: bool = attrs.field(default=True, kw_only=True)
    target_is_id: bool = attrs.field(default=False, kw_only=True)
    model_repository: bool = attrs.field(default=False, kw_only=True)
    opt_ml: bool | None = attrs.field(default=False, kw_only=True)
    requirements_for: str | None = attrs.field(default=None, kw_only=True)
    isolated: bool = attrs.field(default=False, kw_only=True)

    @property
    def uses_socket(self) -> bool:
        """Whether the program listens on a unix socket: `{socket}` occurs in its arguments or environment."""
        return any("{socket}" in word for word in (*self.argv, *(self.single or ()), *self.environment.values()))

    def words(self, *, single: bool, values: Mapping[str, str]) -> tuple[str, ...]:
        """Return the command line with placeholders replaced.

        Args:
            single: Whether the container serves a single model.
            values: Value by placeholder name.

        Returns:
            Program and arguments.
        """
        chosen = self.single if single and self.single is not None else self.argv
        return tuple(_filled(word, values) for word in chosen)

    def variables(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return the environment variables with placeholders replaced.

        Args:
            values: Value by placeholder name.

        Returns:
            Value by variable name.
        """
        return {name: _filled(value, values) for name, value in self.environment.items()}


def _filled(word: str, values: Mapping[str, str]) -> str:
    # str.format would fail on other braces, which are common in the arguments of servers.
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


_MODULE = "mme_sdk.local.containers.python"
_SERVE = (sys.executable, "-m", _MODULE, "--port", "{port}", "--exit-with-stdin", "--key-from-stdin")

PYTHON = Command(
    [*_SERVE, "--memory-budget", "{memory}"],
    [*_SERVE, "--model", "{model}"],
    isolated=True,
    opt_ml=None,
    requirements_for=sys.executable,
)
"""The Python container, which runs for images that `images=` does not name."""


def command_for(image: str, images: Mapping[str, Command]) -> Command:
    """Return the program that runs in place of an image.

    Args:
        image: Image name as in CreateModel.
        images: Program by image name or pattern; `*` matches any text.

    Returns:
        The program of the exact name, else of the first pattern that matches, else the Python container.
    """
    if image in images:
        return images[image]
    found = next((command for name, command in images.items() if fnmatch.fnmatchcase(image, name)), None)
    # The Python container behaves as the image does.
    return found or attrs.evolve(PYTHON, environment={"MME_IMAGE": image})

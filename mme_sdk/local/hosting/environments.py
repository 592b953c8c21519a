"""Virtual environments with the packages of a model's `requirements.txt`, kept in the user's cache folder.

An environment is made in a temporary folder, which is renamed when it is complete. A process that is killed meanwhile
leaves nothing that another process would use.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from mme_sdk.artifacts.temporary import TemporaryFolder
from mme_sdk.local import processes
from mme_sdk.local.containers import requirements
from mme_sdk.local.hosting import isolation
from mme_sdk.local.storage import disk

__all__ = ["Environments", "RequirementsError", "cache_folder"]

_PREFIX = "making-"
_SHOWN = 6  # lines of pip's output in an error
# A line that names a distribution or an index. Any other line, such as `-r other.txt`, refers to files.
_PLAIN = re.compile(
    r"\s*(#.*)?|\s*[A-Za-z0-9][\w.-]*\s*(\[[\w\s,.-]*\])?\s*(([<>=!~;(]|@\s*(https?|git\+https?):).*)?|"
    r"\s*(-i|--index-url|--extra-index-url|--pre|--no-index|--trusted-host|--prefer-binary|--only-binary|--no-binary)\b.*"
)
_ARCHIVE = re.compile(r"\s*[^\s@]+\.(whl|zip|tar\.gz|tar\.bz2|tgz)\s*")
_FIND_LINKS = re.compile(r"\s*(?:-f|--find-links)[\s=]+(?:file://)?(/\S+)")
_DROPPED = {"PIP_DRY_RUN", "PIP_PREFIX", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV", "PIP_ROOT", "PIP_TARGET", "PIP_USER"}
_PIP = (22, 3)  # the first version with the option --python
# Lets the environment see the packages of the interpreter that it was made with, as an image's own packages.
_INHERIT = "import site, sys\nfor one in {paths!r}:\n    if one not in sys.path:\n        site.addsitedir(one)\n"
_INSPECT = (
    "import importlib.metadata as found, json, sys; print(json.dumps([[one for one in sys.path if one], "
    "[sys.version, sys.prefix, *sorted(f'{one.name} {one.version}' for one in found.distributions())], sys.prefix]))"
)


class RequirementsError(Exception):
    """The packages of a `requirements.txt` cannot be installed. The text is the reason."""


def cache_folder(variables: Mapping[str, str]) -> Path:
    """Return the folder for environments in the cache folder of the user.

    Args:
        variables: The environment variables of the process.
    """
    given = variables.get("XDG_CACHE_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "mme-sdk" / "environments"  # noqa: PTH117


@attrs.frozen
class _Interpreter:
    """An interpreter: the folders of its packages, its version with the names of its packages, and its prefix."""

    program: str
    paths: list[str]
    content: list[str]
    prefix: str


@attrs.define(eq=False)
class Environments:
    """The environments of models.

    Attributes:
        folder: Folder of the environments.
        hidden: Folder of the host's data; an installation cannot read it.
        isolate: Whether installations run isolated, as containers do.
        readable: More paths that an installation can read.
    """

    folder: Path
    hidden: Path
    isolate: bool
    readable: tuple[str, ...] = ()
    _locks: dict[Path, asyncio.Lock] = attrs.field(factory=dict, init=False)
    _interpreters: dict[str, _Interpreter] = attrs.field(factory=dict, init=False)

    async def prepare(self, directory: Path, python: str, log: Path, *, submitted: str = "") -> None:
        """Make the environment of a model, if it has a `requirements.txt`, and link it beside the model.

        Args:
            directory: Folder of the extracted archive.
            python: The interpreter that runs the model.
            log: File for the output of the installation.
            submitted: Value of SAGEMAKER_SUBMIT_DIRECTORY.

        Raises:
            RequirementsError: The packages cannot be installed.
        """
        file = requirements.file_of(directory, submitted)
        if file is None:
            return
        if python not in self._interpreters:
            self._interpreters[python] = await _inspect(python)
        interpreter = self._interpreters[python]
        made = self.folder / await asyncio.to_thread(digest, file, repr(interpreter))
        async with self._locks.setdefault(made, asyncio.Lock()):
            if not made.is_dir():
                try:
                    await self._make(made, file, interpreter, log)
                except OSError as error:
                    raise RequirementsError(f"cannot make {made}: {error.strerror}") from error
        link = requirements.link_of(directory)
        link.unlink(missing_ok=True)
        link.symlink_to(made, target_is_directory=True)

    async def _make(self, made: Path, file: Path, interpreter: _Interpreter, log: Path) -> None:
        disk.make_folder(self.folder)
        disk.make_folder(log.parent)
        folder = TemporaryFolder(_PREFIX, self.folder)
        try:
            has_pip = _has_pip()
            words = [interpreter.program, "-m", "venv", *(["--without-pip"] if has_pip else []), str(folder.path)]
            await self._run(words, folder.path, file, interpreter, log)
            (packages,) = folder.path.glob("lib/python*/site-packages")
            paths = [one for one in interpreter.paths if Path(one).is_dir()]
            (packages / "_mme_sdk_host.py").write_text(_INHERIT.format(paths=paths))
            (packages / "_mme_sdk_host.pth").write_text("import _mme_sdk_host\n")
            program = str(folder.path / "bin" / "python")
            pip = [sys.executable, "-m", "pip", "--python", program] if has_pip else [program, "-m", "pip"]
            words = [*pip, "install", "--no-cache-dir", "-r", str(file)]
            await self._run(words, folder.path, file, interpreter, log)
            await asyncio.to_thread(_move_scripts, folder.path, made)
            with contextlib.suppress(OSError):  # another process has made the same environment
                folder.path.rename(made)
                folder.release()
                return
            if not made.is_dir():
                raise RequirementsError(f"cannot rename {folder.path} to {made}")
        finally:
            if folder.path.exists():
                await asyncio.to_thread(folder.close)

    async def _run(self, words: Sequence[str], folder: Path, file: Path, interpreter: _Interpreter, log: Path) -> None:
        """Run a program that writes into `folder`, with its output in the log.

        Raises:
            RequirementsError: The program failed.
        """
        with TemporaryFolder("mme-sdk-pip-") as scratch:
            variables, program = await asyncio.to_thread(self._isolated, words, folder, file, interpreter, scratch)
            with disk.open_private(log, append=True) as output:
                began = output.tell()
                process = await asyncio.create_subprocess_exec(
                    *processes.die_with_parent(program),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=file.parent,  # relative paths in the file begin here
                    env=variables,
                    start_new_session=True,
                )
                try:
                    status = await process.wait()
                except BaseException:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await asyncio.shield(process.wait())
                    raise
            if status:
                with log.open("rb") as said:
                    said.seek(began)
                    lines = said.read().decode(errors="replace").strip().splitlines()
                raise RequirementsError(
                    f"installing the packages of {file.name} failed with exit status {status}: "
                    + "\n".join(lines[-_SHOWN:])
                )

    def _isolated(
        self, words: Sequence[str], folder: Path, file: Path, interpreter: _Interpreter, scratch: Path
    ) -> tuple[dict[str, str], Sequence[str]]:
        """Return the environment variables and the command line of an installation."""
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and name not in _DROPPED}
        pip |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONNOUSERSITE": "1"}
        if not self.isolate:
            own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PIP_"))}
            return {**own, **pip, "TMPDIR": str(scratch)}, words
        home = Path.home()
        # pip reads its configuration below the home folder; an installation can read nothing else there.
        configured = [home / one for one in (".config/pip", ".pip", "Library/Application Support/pip")]
        local = [*_distributions(file), *pip.get("PIP_FIND_LINKS", "").split()]
        readable: list[str | os.PathLike[str]] = [
            *configured,
            *local,
            *self.readable,
            *interpreter.paths,
            interpreter.prefix,
        ]
        rules = isolation.policy(words, hidden=self.hidden, writable=[folder, scratch], readable=readable)
        rules["container"]["read"].append(str(file.parent))  # below the hidden folder
        rules["container"]["listed"] += [str(Path(one).parent) for one in local]
        policy = scratch / "policy.json"
        policy.write_text(json.dumps(rules))
        variables = {**isolation.environment(os.environ, scratch), **pip, "HOME": str(home)}
        return variables, isolation.restricted(words, policy)


def _has_pip() -> bool:
    """Return whether the pip of the host's interpreter can install into another environment."""
    try:
        version = importlib.metadata.version("pip").split(".")
    except importlib.metadata.PackageNotFoundError:
        return False
    return tuple(int(one) for one in version[:2] if one.isdigit()) >= _PIP


async def _inspect(python: str) -> _Interpreter:
    process = await asyncio.create_subprocess_exec(
        python, "-P", "-c", _INSPECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/"
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise RequirementsError(f"cannot run {python}: {errors.decode(errors='replace').strip()}")
    return _Interpreter(python, *json.loads(output))


def digest(file: Path, interpreter: str) -> str:
    """Return a name for the environment of a requirements file: the same for the same packages.

    Args:
        file: The requirements file.
        interpreter: Text that identifies the interpreter and its packages.

    Returns:
        A hexadecimal number.
    """
    content = file.read_bytes()
    total = hashlib.sha256(interpreter.encode() + b"\0" + content)
    lines = content.decode(errors="replace").replace("\\\n", " ").splitlines()
    if not all(_PLAIN.fullmatch(line) and not _ARCHIVE.fullmatch(line) for line in lines):
        # The file refers to other files: those beside it count too.
        for path in sorted(one for one in file.parent.rglob("*") if one.is_file()):
            total.update(f"\0{path.relative_to(file.parent)}\0{path.stat().st_size}\0".encode())
            total.update(path.read_bytes())
        for name in _distributions(file):
            total.update(f"\0{name}\0{Path(name).stat().st_mtime_ns}\0".encode())
    return total.hexdigest()[:32]


def _distributions(file: Path) -> list[str]:
    """Return the distributions in the local folders that `--find-links` of a requirements file names."""
    found = [_FIND_LINKS.match(line) for line in file.read_text(errors="replace").splitlines()]
    folders = [Path(one[1]) for one in found if one is not None]
    return [
        str(one) for folder in folders if folder.is_dir() for one in folder.iterdir() if _ARCHIVE.fullmatch(one.name)
    ]


def _move_scripts(folder: Path, target: Path) -> None:
    """Let the programs of an environment run from the folder that it is renamed to."""
    for script in (folder / "bin").iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        content = script.read_bytes()
        if content.startswith(b"#!") or script.name.lower().startswith("activate"):
            script.write_bytes(content.replace(os.fsencode(folder), os.fsencode(target)))

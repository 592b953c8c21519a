"""Isolation of a container: its environment variables, and the paths that it can read and write."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mme_sdk.local.containers import landlock

__all__ = ["VARIABLE", "environment", "policy", "prepare", "restricted"]

VARIABLE = "MME_ISOLATION"  # path of the policy file, for containers that isolate each model too
_VARIABLES, _PROXIES, _PREFIXES, _SYSTEM, _LINKS, _DEVICES, _SECRETS = (
    tuple(line.split())
    for line in (
        # Variables that a container inherits; proxy variables, inherited unless they hold a password; name prefixes.
        (
            "CONDA_PREFIX CURL_CA_BUNDLE JAVA_HOME LANG LANGUAGE LOGNAME NO_PROXY PATH REQUESTS_CA_BUNDLE TERM "
            "TOKENIZERS_PARALLELISM TZ USER VIRTUAL_ENV no_proxy"
        ),
        "HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy",
        (
            "BLIS_ COVERAGE_ CUDA DYLD_ HIP_ HSA_ JE_ KMP_ LC_ LD_ MALLOC_ MKL_ NUMBA_ NUMEXPR_ NVIDIA_ OMP_ OPENBLAS_ "
            "PYTHON ROCR_ SSL_CERT_ TF_ VECLIB_ XLA_"
        ),
        # Readable paths: the system, and files of /etc that are often symbolic links.
        (
            "/bin /etc /gnu /home/linuxbrew/.linuxbrew /lib /lib32 /lib64 /libx32 /nix /opt /proc "
            "/run/nvidia-persistenced /run/opengl-driver /run/resolvconf /run/systemd/resolve /sbin /snap /sys /usr "
            "/var/cache/fontconfig /var/lib/ca-certificates"
        ),
        "/etc/hosts /etc/localtime /etc/resolv.conf /etc/timezone",
        # Writable paths: devices without stored data, and shared memory.
        "/dev/dri /dev/full /dev/kfd /dev/null /dev/ptmx /dev/pts /dev/random /dev/shm /dev/tty /dev/urandom /dev/zero",
        # Paths below the home directory that stay closed.
        ".aws .azure .bash_history .config/gcloud .docker .git-credentials .gnupg .kube .netrc .pypirc .ssh",
    )
)
_SHARED = {"/", "/home", "/root", "/tmp", "/var", "/mnt", "/media", "/Users"}  # noqa: S108 - shared by several programs
_IMPORTS = (
    "import json, site, sys; maps = [getattr(one, 'MAPPING', {}) for name, one in list(sys.modules.items()) "
    "if name.startswith('__editable__')]; "
    "print(json.dumps([sys.path, [path for one in maps for path in one.values()], site.getuserbase()]))"
)


def environment(own: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return the variables that a container inherits from the host. Credentials are not among them.

    Args:
        own: The environment of the host.
        scratch: Folder for temporary files, which is also the home directory of the container.

    Returns:
        The variables.
    """
    kept = {
        name: value
        for name, value in own.items()
        if name in _VARIABLES or name.startswith(_PREFIXES) or (name in _PROXIES and "@" not in value)
    }
    return {**kept, "HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONUSERBASE": _imports()[2]}


def policy(
    words: Sequence[str], *, hidden: Path, writable: Iterable[Path], readable: Iterable[str | os.PathLike[str]] = ()
) -> dict[str, dict[str, list[str]]]:
    """Return the paths that a container, and each of its models, can read and write.

    Args:
        words: Command line of the container.
        hidden: Folder of the host's data. It stays closed even if a folder above it is open.
        writable: Folders of the container: models, working directory, temporary files.
        readable: More readable paths.

    Returns:
        The arguments of `landlock.restrict` for `container` and `model`. The process of a model adds its own folders.
    """
    home, data = Path.home(), str(hidden.resolve())
    secrets = [str((home / name).resolve()) for name in _SECRETS]
    projects, packages = _interpreter()
    wanted = [*_SYSTEM, *_LINKS, *packages, *_of_command(words), *(os.fspath(one) for one in readable)]
    read: set[str] = set()
    listed: set[str] = set()
    for path in map(os.path.realpath, wanted):
        # An interpreter can be installed inside the data directory; the host's own folders there stay closed.
        inside = path.startswith(f"{data}/")
        closed = [f"{data}/hosting", f"{data}/s3", *secrets] if inside else [data, *secrets]
        _open(path, closed, read, listed)
    for project in projects:
        # Packages are imported from the project; hidden files such as .env and .git stay closed.
        listed.add(os.path.realpath(project))
        for child in _entries(project):
            if not os.path.basename(child).startswith("."):  # noqa: PTH119
                _open(child, [data, *secrets], read, listed)
    devices = [*_DEVICES, *(str(one) for one in Path("/dev").glob("nvidia*"))]
    # Each rule slows the start of a model: drop paths below other readable paths.
    read = {one for one in read if os.path.exists(one) and not any(os.fspath(up) in read for up in Path(one).parents)}  # noqa: PTH110
    model = {"read": sorted(read), "listed": sorted(listed), "write": devices}
    # Servers list the folders above the ones that they read.
    container = {**model, "listed": [*model["listed"], "/"], "write": [*devices, *(str(one) for one in writable)]}
    return {"container": container, "model": model}


def restricted(words: Sequence[str], file: Path) -> list[str]:
    """Return the command line that runs a program under a policy, or `words` where Landlock is not available.

    Args:
        words: Program and arguments.
        file: JSON file with the return value of `policy`.

    Returns:
        The command line.
    """
    if not landlock.version():
        return list(words)  # the container logs why its models are not isolated
    return [sys.executable, "-I", "-S", str(landlock.__file__), str(file), *words]


def _open(path: str, closed: Sequence[str], read: set[str], listed: set[str]) -> None:
    """Add a path to `read`, or the open parts of it if something below it is closed."""
    if any(path == one or path.startswith(f"{one}/") for one in closed):
        return
    below = path if path.endswith("/") else f"{path}/"
    if not any(one.startswith(below) for one in closed):
        read.add(path)
        return
    # Landlock cannot revoke a right: all names below `path` can be listed, those of closed paths too.
    listed.add(path)
    for child in _entries(path):
        _open(child, closed, read, listed)


def _entries(folder: str) -> list[str]:
    try:
        with os.scandir(os.path.realpath(folder)) as found:
            return [child.path for child in found if not child.is_symlink()]
    except OSError:
        return []


@functools.cache
def _imports() -> tuple[list[str], list[str], str]:
    """Return the module search path of a new interpreter, the paths of editable packages, and the user base."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _IMPORTS], capture_output=True, text=True, check=True, cwd="/", timeout=60
    )
    path, editable, user = json.loads(done.stdout.splitlines()[-1])
    return path, editable, user


def prepare() -> None:
    """Ask a new interpreter for its paths, which `policy` needs. This takes 0.1 s the first time."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # `policy` raises the error where it can be reported
        _imports()


def _interpreter() -> tuple[list[str], list[str]]:
    """Return the project folders on the module search path, and the other folders that Python needs."""
    path, editable, _ = _imports()
    projects: list[str] = []
    packages = [sys.prefix, sys.base_prefix, *editable, str(Path(__file__).resolve().parents[3] / "mme_sdk")]
    for one in path:
        installed = one.endswith((".zip", "site-packages", "dist-packages")) or one.startswith(
            (f"{sys.prefix}/", f"{sys.base_prefix}/")
        )
        (packages if installed else projects).append(one)
    return projects, packages


def _of_command(words: Sequence[str]) -> list[str]:
    """Return the programs and folders that a command line names, and the environments that contain them."""
    program = shutil.which(words[0])
    found: list[str] = []
    for word in (*([program] if program else []), *words):
        if not word.startswith("/") or not os.path.exists(word):  # noqa: PTH110
            continue
        for one in {word, os.path.realpath(word)}:
            is_folder = os.path.isdir(one)  # noqa: PTH112
            folder = one if is_folder else os.path.dirname(one)  # noqa: PTH120
            if os.path.basename(folder) == "bin":  # noqa: PTH119
                folder = os.path.dirname(folder)  # noqa: PTH120
            if folder not in _SHARED and folder != str(Path.home()):
                found.append(folder)
            elif not is_folder:
                found.append(one)
    return found

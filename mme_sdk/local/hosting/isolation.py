"""What the processes of one container may see: environment variables, and paths of this machine."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mme_sdk.local.containers import landlock

__all__ = ["VARIABLE", "environment", "policy", "restricted"]

VARIABLE = "MME_ISOLATION"  # names the policy file for containers that restrict each model further
_VARIABLES, _PROXIES, _PREFIXES, _SYSTEM, _LINKS, _DEVICES, _SECRETS = (
    tuple(line.split())
    for line in (
        # Variables that a container gets from the host, proxies without a password, and beginnings of names.
        (
            "CONDA_PREFIX CURL_CA_BUNDLE JAVA_HOME LANG LANGUAGE LOGNAME NO_PROXY PATH REQUESTS_CA_BUNDLE TERM "
            "TOKENIZERS_PARALLELISM TZ USER VIRTUAL_ENV no_proxy"
        ),
        "HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy",
        (
            "BLIS_ COVERAGE_ CUDA DYLD_ HIP_ HSA_ JE_ KMP_ LC_ LD_ MALLOC_ MKL_ NUMBA_ NUMEXPR_ NVIDIA_ OMP_ OPENBLAS_ "
            "PYTHON ROCR_ SSL_CERT_ TF_ VECLIB_ XLA_"
        ),
        # What it may read: the system, and files of /etc that often are links to elsewhere.
        (
            "/bin /etc /gnu /home/linuxbrew/.linuxbrew /lib /lib32 /lib64 /libx32 /nix /opt /proc "
            "/run/nvidia-persistenced /run/opengl-driver /run/resolvconf /run/systemd/resolve /sbin /snap /sys /usr "
            "/var/cache/fontconfig /var/lib/ca-certificates"
        ),
        "/etc/hosts /etc/localtime /etc/resolv.conf /etc/timezone",
        # What it may write: devices without content of their own, and shared memory.
        "/dev/dri /dev/full /dev/kfd /dev/null /dev/ptmx /dev/pts /dev/random /dev/shm /dev/tty /dev/urandom /dev/zero",
        # What stays closed in a home directory.
        ".aws .azure .bash_history .config/gcloud .docker .git-credentials .gnupg .kube .netrc .pypirc .ssh",
    )
)
_SHARED = {"/", "/home", "/root", "/tmp", "/var", "/mnt", "/media", "/Users"}  # noqa: S108 - of more than one program
_IMPORTS = (
    "import json, site, sys; maps = [getattr(one, 'MAPPING', {}) for name, one in list(sys.modules.items()) "
    "if name.startswith('__editable__')]; "
    "print(json.dumps([sys.path, [path for one in maps for path in one.values()], site.getuserbase()]))"
)


def environment(own: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """The part of the host's environment that a container gets: how to run programs, and no credentials.

    Args:
        own: The host's environment.
        scratch: The container's folder for temporary files, and its home.

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
    words: Sequence[str], *, hidden: Path, own: Iterable[Path], readable: Iterable[str | os.PathLike[str]] = ()
) -> dict[str, dict[str, list[str]]]:
    """What a container and each of its models may read and write.

    Args:
        words: The container's command line.
        hidden: A folder that stays closed even where a folder above it is open: the host's data.
        own: What belongs to the container: its models, work folder, temporary files.
        readable: More to read.

    Returns:
        For `container` and `model` the arguments of `landlock.restrict`. A model's process adds its own folders.
    """
    home, data = Path.home(), str(hidden.resolve())
    secrets = [str((home / name).resolve()) for name in _SECRETS]
    projects, packages = _interpreter()
    wanted = [*_SYSTEM, *_LINKS, *packages, *_of_command(words), *(os.fspath(one) for one in readable)]
    read: set[str] = set()
    listed: set[str] = set()
    for path in map(os.path.realpath, wanted):
        # An interpreter may be installed inside the data directory; nothing of the host's is opened with it.
        inside = path.startswith(f"{data}/")
        closed = [f"{data}/hosting", f"{data}/s3", *secrets] if inside else [data, *secrets]
        _open(path, closed, read, listed)
    for project in projects:
        # Packages are imported from it; files such as .env and .git are not needed.
        listed.add(os.path.realpath(project))
        for child in _children(project):
            if not os.path.basename(child).startswith("."):  # noqa: PTH119
                _open(child, [data, *secrets], read, listed)
    devices = [*_DEVICES, *(str(one) for one in Path("/dev").glob("nvidia*"))]
    # Fewer rules make a model's start quicker.
    read = {one for one in read if os.path.exists(one) and not any(os.fspath(up) in read for up in Path(one).parents)}  # noqa: PTH110
    model = {"read": sorted(read), "listed": sorted(listed), "write": devices}
    # Servers look at the names in folders above those that they may read.
    container = {**model, "listed": [*model["listed"], "/"], "write": [*devices, *(str(one) for one in own)]}
    return {"container": container, "model": model}


def restricted(words: Sequence[str], file: Path) -> list[str]:
    """The command line that runs a program under a policy, as far as the platform can.

    Args:
        words: Program and arguments.
        file: JSON of what `policy` returned.

    Returns:
        The command line.
    """
    if not landlock.version():
        return list(words)  # the container says why each of its models is not isolated
    return [sys.executable, "-I", "-S", str(landlock.__file__), str(file), *words]


def _open(path: str, closed: Sequence[str], read: set[str], listed: set[str]) -> None:
    """Open a path with all below it but what is closed."""
    if any(path == one or path.startswith(f"{one}/") for one in closed):
        return
    below = path if path.endswith("/") else f"{path}/"
    if not any(one.startswith(below) for one in closed):
        read.add(path)
        return
    # Names below it can be listed then, those in what is closed included; Landlock cannot take a right back.
    listed.add(path)
    for child in _children(path):
        _open(child, closed, read, listed)


def _children(folder: str) -> list[str]:
    try:
        with os.scandir(os.path.realpath(folder)) as found:
            return [child.path for child in found if not child.is_symlink()]
    except OSError:
        return []


@functools.cache
def _imports() -> tuple[list[str], list[str], str]:
    """Where this interpreter finds modules when it is started anew, editable packages, and where users install."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _IMPORTS], capture_output=True, text=True, check=True, cwd="/", timeout=60
    )
    path, editable, user = json.loads(done.stdout.splitlines()[-1])
    return path, editable, user


def _interpreter() -> tuple[list[str], list[str]]:
    """Folders of projects that packages are imported from in place, and of everything else that Python needs."""
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
    """The programs and folders that a command line names, with the environments that they belong to."""
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

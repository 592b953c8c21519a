"""Restrict the file access of this process and its descendants with Landlock of Linux, which needs no privileges.

This file imports nothing of the package: it also runs as a script that restricts itself and executes a program:
`python -I -S landlock.py POLICY.json PROGRAM ARGUMENT…`.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["apply", "restrict", "version"]

# The numbers are the same on all processor architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVS, _DROP_FROM_BOUNDING_SET = 38, 24
_CAPABILITIES_VERSION = 0x20080522
_CAP_DAC_OVERRIDE = 1  # root often needs it to read an interpreter that belongs to another user

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_CHANGES = (1 << 13) - 1  # everything of version 1
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1


def version() -> int:
    """Return the Landlock version of the kernel; 0 without Landlock."""
    if sys.platform != "linux":
        return 0
    try:
        return max(0, _call(_CREATE_RULESET, None, 0, _VERSION_FLAG))
    except OSError:
        return 0


def restrict(*, read: Iterable[str], listed: Iterable[str] = (), write: Iterable[str] = ()) -> None:
    """Permanently drop the access to all files except the named ones, and the capabilities of root.

    The process can no longer trace unrestricted processes or read their memory and environment. From version 6 of
    Landlock on it can also not send them signals or connect to their abstract unix sockets.

    Args:
        read: Files and directory trees to read and execute.
        listed: Directory trees in which directories can be listed.
        write: Files and directory trees to read and write.

    Raises:
        OSError: A system call failed.
    """
    offered = version()
    handled = _CHANGES
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        handled |= right if offered >= since else 0
    fields = [handled] + [0] * (offered >= 4) + [_ABSTRACT_SOCKETS | _SIGNALS] * (offered >= 6)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for paths, rights in ((read, _READ), (listed, _READ_DIR), (write, handled)):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        _prctl(_NO_NEW_PRIVS, 1)
        _drop_capabilities()
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def apply(policy: Mapping[str, Any], *, write: Iterable[str] = ()) -> str | None:
    """Restrict this process if the platform supports it.

    Args:
        policy: Arguments of `restrict`.
        write: More files and directory trees to read and write.

    Returns:
        None if the process is restricted, else the reason why it is not.
    """
    if sys.platform != "linux":
        return f"{sys.platform} has no Landlock"
    if not version():
        return "this kernel has no Landlock (Linux 5.13 or newer, with `landlock` in /sys/kernel/security/lsm)"
    try:
        restrict(read=policy["read"], listed=policy["listed"], write=[*policy["write"], *write])
    except OSError as error:
        return f"Landlock failed: {error.strerror}"
    return None


def _drop_capabilities() -> None:
    """Drop all capabilities of root except CAP_DAC_OVERRIDE.

    With CAP_PERFMON a process could read the environment of other processes in spite of Landlock.
    """
    assert _libc is not None
    header = struct.pack("=Ii", _CAPABILITIES_VERSION, 0)
    held = ctypes.create_string_buffer(24)
    _checked(_libc.capget(header, held))
    effective, permitted, _, effective_high, permitted_high, _ = struct.unpack("=6I", held.raw)
    if not (effective or permitted or effective_high or permitted_high):
        return
    for number in range(64):
        if number != _CAP_DAC_OVERRIDE:
            _libc.prctl(_DROP_FROM_BOUNDING_SET, number, 0, 0, 0)  # fails for numbers unknown to the kernel
    kept = 1 << _CAP_DAC_OVERRIDE
    _checked(_libc.capset(header, struct.pack("=6I", effective & kept, permitted & kept, 0, 0, 0, 0)))


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # the path does not exist
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        if rights:
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: int | bytes | None) -> int:
    assert _libc is not None
    given = [ctypes.c_long(one) if isinstance(one, int) else ctypes.c_char_p(one) for one in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *given))


def _prctl(option: int, value: int) -> None:
    assert _libc is not None
    _checked(_libc.prctl(option, value, 0, 0, 0))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _main() -> None:
    policy, program = sys.argv[1], sys.argv[2:]
    reason = apply(json.loads(Path(policy).read_text())["container"])
    if reason is not None:
        print(f"the container is not isolated: {reason}", file=sys.stderr, flush=True)  # noqa: T201
    try:
        os.execvp(program[0], program)  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot run {program[0]}: {error.strerror}")


if __name__ == "__main__":
    _main()

"""Seccomp filters, assembled here: an allow-list whose bytes are the same on every host, so that they can be hashed.

Form: classic BPF over `struct seccomp_data` (Linux, Documentation/userspace-api/seccomp_filter.rst). What the list does
not name fails with EPERM. A call made for another architecture (32-bit, x32) kills the process.
"""

import ctypes
import struct
from collections.abc import Mapping, Sequence
from typing import Literal

from servers.tee.process import kernel, rules
from servers.tee.process.syscalls import NUMBERS

Profile = Literal["python", "exec", "exec_net", "wasm_worker"]
"""`python`: no exec, no new process, no socket. `exec`: programs and processes, no socket. `exec_net`: TCP sockets too,
for a network namespace of its own. `wasm_worker`: no new file, thread, process, socket or machine code."""

PROFILES: tuple[Profile, ...] = ("python", "exec", "exec_net", "wasm_worker")

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000  # a number from here on is an x32 call, which has the architecture of x86_64
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_SET_MODE_FILTER, _ALL_THREADS = 1, 1


def program(profile: Profile, machine: str) -> bytes:
    """The filter of a profile for a machine as `platform.machine()` names it: 8 bytes an instruction.

    Raises `ValueError` for a machine that has no table.
    """
    if machine not in _ARCHITECTURES:
        raise ValueError(f"no system call table for {machine}: the process tier runs on {' and '.join(_ARCHITECTURES)}")
    names, chosen = rules.allowed(profile), rules.checked(profile)
    numbers = NUMBERS[machine]
    code = [
        *rules.load(_ARCHITECTURE),
        rules.Step(rules.JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        rules.give(rules.KILL),
        *rules.load(_NUMBER),
    ]
    if machine == "x86_64":
        code += [rules.Step(rules.JUMP_AT_LEAST, 0, 1, _X32), rules.give(rules.KILL)]
    for name, steps in chosen.items():
        if name in numbers:
            code += [rules.Step(rules.JUMP_EQUAL, 0, len(steps), numbers[name]), *steps]
    for first, last in _ranges(sorted(numbers[name] for name in names if name in numbers)):
        if first == last:
            code += [rules.Step(rules.JUMP_EQUAL, 0, 1, first), rules.give(rules.ALLOW)]
        else:
            code += [
                rules.Step(rules.JUMP_AT_LEAST, 0, 2, first),
                rules.Step(rules.JUMP_AT_LEAST, 1, 0, last + 1),
                rules.give(rules.ALLOW),
            ]
    code.append(rules.fail(rules.EPERM))
    return b"".join(struct.pack("<HBBI", *step) for step in code)


def install(filter_bytes: bytes) -> None:
    """Lock every thread of this process, and all that it will start, for good. Raises `OSError`.

    Sets `no_new_privs`, without which an ordinary user may install no filter.
    """
    kernel.prctl(kernel.NO_NEW_PRIVS, 1)
    text = ctypes.create_string_buffer(filter_bytes, len(filter_bytes))
    # struct sock_fprog: a count of instructions, and a pointer to them.
    head = struct.pack("@HP", len(filter_bytes) // 8, ctypes.addressof(text))
    stuck = kernel.syscall("seccomp", _SET_MODE_FILTER, _ALL_THREADS, head)
    if stuck:  # the id of a thread that could not be locked
        raise OSError(0, f"thread {stuck} cannot be locked: it has a filter of its own")


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] + 1 == number:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def unknown(names: Mapping[str, object] | Sequence[str]) -> set[str]:
    """Those of `names` that no machine's table has: a misspelt rule would allow nothing, silently."""
    return {name for name in names if not any(name in numbers for numbers in NUMBERS.values())}

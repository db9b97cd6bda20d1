"""The seccomp filters by their bytes, on both machines: a small interpreter of BPF stands in for the kernel."""

import struct

import pytest

from servers.tee.process import rules, seccomp
from servers.tee.process.seccomp import Profile
from servers.tee.process.syscalls import NUMBERS

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
EPERM, EINVAL, ENOSYS, EAFNOSUPPORT = (f"errno {number}" for number in (1, 22, 38, 97))


def verdict(program: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int = 0) -> str:
    """What the kernel would do with a call."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(arguments + (0,) * 6)[:6])
    steps = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    word, at = 0, 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        match code:
            case rules.LOAD:
                word = struct.unpack_from("<I", data, operand)[0]
            case rules.AND:
                word &= operand
            case rules.JUMP_EQUAL:
                at += if_true if word == operand else if_false
            case rules.JUMP_AT_LEAST:
                at += if_true if word >= operand else if_false
            case rules.JUMP_ANY_BIT:
                at += if_true if word & operand else if_false
            case _:
                return {rules.KILL: "kill", rules.ALLOW: "allow"}.get(operand, f"errno {operand & 0xFFFF}")


CALLS: list[tuple[Profile, str, tuple[int, ...], str]] = [
    ("python", "read", (), "allow"),
    ("python", "openat", (), "allow"),
    ("python", "execve", (), EPERM),
    ("exec", "execve", (), "allow"),
    ("exec", "connect", (), EPERM),
    ("exec_net", "connect", (), "allow"),
    ("python", "clone", (0x3D0F00,), "allow"),  # a thread of glibc's
    ("python", "clone", (17,), EPERM),  # a process
    ("exec", "clone", (17,), "allow"),
    ("exec", "clone", (0x10000000 | 17,), EPERM),  # in a new user namespace
    ("exec", "clone", (0x20000 | 17,), EPERM),
    ("python", "clone3", (), ENOSYS),
    ("exec_net", "socket", (2, 1), "allow"),
    ("exec_net", "socket", (10, 1 | 0o2000000 | 0o4000), "allow"),  # with SOCK_CLOEXEC and SOCK_NONBLOCK
    ("exec_net", "socket", (2, 2), EAFNOSUPPORT),
    ("exec_net", "socket", (1, 1), EAFNOSUPPORT),
    ("exec_net", "socket", (16, 3), EAFNOSUPPORT),
    ("exec_net", "socket", (40, 1), EAFNOSUPPORT),
    ("exec", "socket", (2, 1), EAFNOSUPPORT),
    ("python", "socketpair", (1, 1), "allow"),
    ("python", "socketpair", (1, 2), EAFNOSUPPORT),
    ("python", "prlimit64", (0, 7, 0, 1), "allow"),
    ("python", "prlimit64", (0, 7, 1, 0), EPERM),
    ("python", "prlimit64", (0, 7, 1 << 40, 0), EPERM),
    ("python", "prlimit64", (9, 7, 0, 1), EPERM),
    ("python", "ioctl", (0, 0x5401), "allow"),
    ("python", "ioctl", (0, 0x5412), "errno 25"),  # TIOCSTI types into a terminal
    ("python", "fcntl", (0, 5), EINVAL),
    ("exec", "fcntl", (0, 5), "allow"),
    ("exec", "fcntl", (0, 1024), EINVAL),
    ("exec", "flock", (), EPERM),
    ("exec", "io_uring_setup", (), EPERM),
    ("exec", "ptrace", (), EPERM),
    ("exec", "memfd_create", (), EPERM),
    ("wasm_worker", "write", (), "allow"),
    ("wasm_worker", "mmap", (0, 4096, 3), "allow"),
    ("wasm_worker", "mmap", (0, 4096, 5), EPERM),
    ("wasm_worker", "mprotect", (0, 4096, 4), EPERM),
    *(("wasm_worker", name, (), EPERM) for name in ("openat", "socket", "clone", "execve", "kill", "tgkill", "fcntl")),
]


@pytest.mark.parametrize("machine", sorted(ARCHITECTURES))
@pytest.mark.parametrize(("profile", "name", "arguments", "expected"), CALLS)
def test_each_call_has_its_verdict(
    machine: str, profile: Profile, name: str, arguments: tuple[int, ...], expected: str
) -> None:
    program = seccomp.program(profile, machine)
    number = NUMBERS[machine][name]
    assert verdict(program, number, arguments, ARCHITECTURES[machine]) == expected


@pytest.mark.parametrize("profile", seccomp.PROFILES)
def test_calls_of_another_architecture_kill(profile: Profile) -> None:
    for machine, own in ARCHITECTURES.items():
        program = seccomp.program(profile, machine)
        for architecture in {0x40000003, *ARCHITECTURES.values()} - {own}:  # the first is 32-bit x86
            assert verdict(program, NUMBERS[machine]["read"], (), architecture) == "kill"
    program = seccomp.program(profile, "x86_64")
    assert verdict(program, 0x40000000 + NUMBERS["x86_64"]["read"], (), ARCHITECTURES["x86_64"]) == "kill"


@pytest.mark.parametrize("profile", seccomp.PROFILES)
def test_what_no_rule_names_fails(profile: Profile) -> None:
    """An unknown number, now or in a later kernel, is refused; a name in a rule that is nowhere would be a slip."""
    for machine, architecture in ARCHITECTURES.items():
        assert verdict(seccomp.program(profile, machine), 4000, (), architecture) == EPERM
    assert not seccomp.unknown(rules.allowed(profile))
    assert not seccomp.unknown(rules.checked(profile))


def test_a_machine_without_a_table_is_named() -> None:
    with pytest.raises(ValueError, match="no system call table for riscv64"):
        seccomp.program("python", "riscv64")

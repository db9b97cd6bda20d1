"""What each seccomp profile allows, and the calls that it allows only with certain arguments."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Step(NamedTuple):
    """One BPF instruction: operation, how many to skip if true and if false, operand."""

    code: int
    if_true: int
    if_false: int
    operand: int


LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
KILL, ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000  # SECCOMP_RET_KILL_PROCESS, _ALLOW, _ERRNO
EPERM, EINVAL, ENOTTY, ENOSYS, EAFNOSUPPORT = 1, 22, 25, 38, 97

_NAMESPACES = 0x7E020000  # every CLONE_NEW* that clone(2) takes
_THREAD = 0x00010000  # CLONE_THREAD
_PROT_EXEC = 4
_UNIX, _INET, _INET6 = 1, 2, 10
_STREAM, _SEQPACKET = 1, 5
_KIND = 0xF  # a socket's type without SOCK_CLOEXEC and SOCK_NONBLOCK

_COMMON = """
read write readv writev close fstat lseek munmap mremap madvise brk rt_sigaction rt_sigprocmask rt_sigreturn
sigaltstack poll ppoll select pselect6 sched_yield sched_getaffinity nanosleep clock_nanosleep clock_gettime
clock_getres gettimeofday time getpid gettid getppid getuid geteuid getgid getegid exit exit_group futex
set_robust_list rseq restart_syscall getrandom membarrier getcpu
"""

_PYTHON = """
pread64 pwrite64 preadv pwritev preadv2 pwritev2 close_range stat lstat newfstatat statx mmap mprotect msync
rt_sigsuspend rt_sigtimedwait rt_sigpending signalfd4 pause access faccessat faccessat2 pipe pipe2 dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2 timerfd_create timerfd_settime
timerfd_gettime sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getpriority times
getitimer setitimer alarm getgroups getresuid getresgid getpgrp getpgid getsid capget fsync fdatasync truncate
ftruncate fallocate getdents64 getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir unlink unlinkat
symlink symlinkat link linkat readlink readlinkat chmod fchmod fchmodat fchmodat2 umask utimensat utime utimes
futimesat open openat creat getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr uname getrlimit getrusage
sysinfo wait4 waitid futex_waitv get_robust_list set_tid_address arch_prctl sendfile copy_file_range splice tee kill
tkill statfs fstatfs fadvise64 sync_file_range readahead sendto recvfrom sendmsg recvmsg shutdown getsockopt
setsockopt getsockname getpeername tgkill
"""

_EXEC = "execve execveat fork vfork setpgid setsid chown fchown lchown fchownat"
_NET = "connect bind listen accept accept4 sendmmsg recvmmsg"


def allowed(profile: str) -> Sequence[str]:
    """The calls that a profile allows whatever their arguments."""
    match profile:
        case "wasm_worker":
            return _COMMON.split()
        case "python":
            return [*_COMMON.split(), *_PYTHON.split()]
        case "exec":
            return [*_COMMON.split(), *_PYTHON.split(), *_EXEC.split()]
        case "exec_net":
            return [*_COMMON.split(), *_PYTHON.split(), *_EXEC.split(), *_NET.split()]
        case _:
            raise ValueError(f"no seccomp profile is called {profile!r}")


def checked(profile: str) -> Mapping[str, Sequence[Step]]:
    """The calls whose answer depends on their arguments; each sequence ends in a verdict on every path."""
    if profile == "wasm_worker":
        return {"mmap": _not_executable(2), "mprotect": _not_executable(2)}
    families = (_INET, _INET6) if profile == "exec_net" else ()
    return {
        # glibc and others then use clone(2), whose flags can be read here; those of clone3 lie behind a pointer.
        "clone3": [fail(ENOSYS)],
        "openat2": [fail(ENOSYS)],
        "clone": _THREADS_ONLY if profile == "python" else _NO_NAMESPACES,
        "ioctl": _one_of(1, _REQUESTS, ENOTTY),
        "fcntl": _one_of(1, _LOCKING if profile == "python" else (*_LOCKING, 5, 36), EINVAL),
        "prctl": _one_of(0, _PRCTL, EPERM),
        "prlimit64": _OWN_LIMITS,
        "socket": _streams(families),
        "socketpair": _PAIRS,
    }  # fmt: skip


def load(offset: int) -> list[Step]:
    """Take a 32-bit word of `struct seccomp_data` into the accumulator."""
    return [Step(LOAD, 0, 0, offset)]


def give(verdict: int) -> Step:
    """End with this verdict."""
    return Step(RETURN, 0, 0, verdict)


def fail(code: int) -> Step:
    """End with this error number for the caller."""
    return give(_ERRNO | code)


def _argument(index: int, *, low: bool) -> list[Step]:
    return load(16 + 8 * index + (0 if low else 4))


def _one_of(index: int, values: Sequence[int], code: int) -> list[Step]:
    """Allow where the argument, of which the kernel reads 32 bits, is one of `values`."""
    steps = _argument(index, low=True)
    for at, value in enumerate(values):
        steps.append(Step(JUMP_EQUAL, len(values) - at, 0, value))
    return [*steps, fail(code), give(ALLOW)]


def _not_executable(index: int) -> list[Step]:
    return [*_argument(index, low=True), Step(JUMP_ANY_BIT, 0, 1, _PROT_EXEC), fail(EPERM), give(ALLOW)]


def _streams(families: Sequence[int]) -> list[Step]:
    """Stream sockets of these families. Others are out: raw and netlink sockets, and vsock, which leaves a machine."""
    if not families:
        return [fail(EAFNOSUPPORT)]
    steps = _argument(0, low=True)
    for at, family in enumerate(families):
        steps.append(Step(JUMP_EQUAL, len(families) - at, 0, family))
    kind = [*_argument(1, low=True), Step(AND, 0, 0, _KIND), Step(JUMP_EQUAL, 1, 0, _STREAM)]
    return [*steps, fail(EAFNOSUPPORT), *kind, fail(EAFNOSUPPORT), give(ALLOW)]


def _zero(index: int, after: int) -> list[Step]:
    """Go on where all 64 bits of an argument are zero, else skip `after` steps more."""
    low, high = _argument(index, low=True), _argument(index, low=False)
    return [*low, Step(JUMP_EQUAL, 0, after + 2, 0), *high, Step(JUMP_EQUAL, 0, after, 0)]


# One's own limits, and to read them: no process is named and nothing new is given.
_OWN_LIMITS = [*_zero(0, 5), *_zero(2, 1), give(ALLOW), fail(EPERM)]
_NO_NAMESPACES = [*_argument(0, low=True), Step(JUMP_ANY_BIT, 0, 1, _NAMESPACES), fail(EPERM), give(ALLOW)]
_THREADS_ONLY = [*_argument(0, low=True), Step(JUMP_ANY_BIT, 1, 0, _NAMESPACES), Step(JUMP_ANY_BIT, 1, 0, _THREAD),
                 fail(EPERM), give(ALLOW)]  # fmt: skip
# A pair of datagram sockets could be connected anew, to a socket of the host's.
_PAIRS = [*_argument(0, low=True), Step(JUMP_EQUAL, 0, 4, _UNIX), *_argument(1, low=True), Step(AND, 0, 0, _KIND),
          Step(JUMP_EQUAL, 2, 0, _STREAM), Step(JUMP_EQUAL, 1, 0, _SEQPACKET), fail(EAFNOSUPPORT),
          give(ALLOW)]  # fmt: skip
# Terminal settings and size (read), bytes ready, close-on-exec, non-blocking. Nothing that types into a terminal.
_REQUESTS = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451, 0x5421)
# Descriptors, flags, taking record locks, pipe size (read), seals. Not: asking for another's lock (5, 36), leases and
# directory notices, by which two calls that share a read-only file could signal to each other; nor flock(2).
_LOCKING = (0, 1, 2, 3, 4, 6, 7, 37, 38, 1030, 1032, 1033, 1034)
_PRCTL = (15, 16, 38)  # name of a thread, set and get; no_new_privs

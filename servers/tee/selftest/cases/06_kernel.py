# class: kernel
# tiers: all
# expect: BLOCKED|DIED
# pair: -
# must: What programs have no need for is refused by the kernel: tracing, keyrings, bpf, io_uring, perf, userfaultfd.
found = []
try:
    import ctypes
    import errno
    import platform

    libc = ctypes.CDLL(None, use_errno=True)
    x86 = {"ptrace": 101, "keyctl": 250, "bpf": 321, "io_uring_setup": 425, "perf_event_open": 298, "userfaultfd": 323}
    arm = {"ptrace": 117, "keyctl": 219, "bpf": 280, "io_uring_setup": 425, "perf_event_open": 241, "userfaultfd": 282}
    for name, number in (x86 if platform.machine() == "x86_64" else arm).items():
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(0)] * 5)
        if result >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS, errno.EACCES):
            found.append(name)
except (ImportError, OSError, AttributeError):
    pass
print("VERDICT", "ESCAPED" if found else "BLOCKED", found, flush=True)

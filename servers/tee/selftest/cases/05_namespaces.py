# class: kernel
# tiers: all
# expect: BLOCKED|DIED
# pair: -
# must: No namespace can be made, joined or mounted in.
found = []
try:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x08000000, 0x04000000):
        if libc.unshare(flag) == 0:
            found.append(hex(flag))
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
        found.append("mount")
    if libc.chroot(b"/tmp") == 0:
        found.append("chroot")
except (ImportError, OSError, AttributeError, TypeError):
    pass
print("VERDICT", "ESCAPED" if found else "BLOCKED", found, flush=True)

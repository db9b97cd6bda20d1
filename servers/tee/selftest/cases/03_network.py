# class: network
# tiers: all
# expect: BLOCKED|DIED
# pair: -
# must: No socket of any family can be made.
found = []
try:
    import socket

    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, getattr(socket, "AF_VSOCK", 40), 16, 17):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                socket.socket(family, kind).close()
                found.append((int(family), int(kind)))
            except OSError:
                pass
except (ImportError, AttributeError):
    pass
print("VERDICT", "ESCAPED" if found else "BLOCKED", found[:5], flush=True)

# class: process
# tiers: all
# expect: BLOCKED|DIED
# pair: -
# must: No other program can be started.
import os

found = []
for path in ("/bin/sh", "/usr/bin/env", "/usr/bin/python3"):
    try:
        os.posix_spawn(path, [path, "-c", "true"], {})
        found.append(path)
    except (OSError, AttributeError, NotImplementedError):
        pass
try:
    if os.fork() == 0:
        os._exit(0)
    found.append("fork")
except (OSError, AttributeError):
    pass
print("VERDICT", "ESCAPED" if found else "BLOCKED", found, flush=True)

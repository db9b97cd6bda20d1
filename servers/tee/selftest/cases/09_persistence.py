# class: persistence
# tiers: all
# expect: HARMLESS
# pair: 2
# must: What one call writes, the next does not see.
import os

MARK = "etmcp-was-here"
found = []
for folder in (".", "/tmp", "/dev/shm", "/var/tmp", "/run"):
    path = os.path.join(folder, MARK)
    if os.path.exists(path):
        found.append(path)
    try:
        with open(path, "w") as file:
            file.write("x")
    except OSError:
        pass
print("VERDICT", "ESCAPED" if found else "HARMLESS", found, flush=True)

# class: persistence
# tiers: all
# expect: HARMLESS
# pair: 2
# must: What one call writes, the next does not see.
import os

MARK = "etmcp-was-here"
PATHS = [os.path.join(folder, MARK) for folder in (".", "/tmp", "/dev/shm", "/var/tmp", "/run")]
found = [path for path in PATHS if os.path.exists(path)]
for path in PATHS:
    try:
        with open(path, "w") as file:
            file.write("x")
    except OSError:
        pass
print("VERDICT", "ESCAPED" if found else "HARMLESS", found, flush=True)

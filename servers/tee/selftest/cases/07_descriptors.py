# class: filesystem
# tiers: all
# expect: BLOCKED
# pair: -
# must: No directory and no socket is inherited, and no descriptor beyond the few that carry the call.
import os
import stat

found = []
for descriptor in range(3, 128):
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        continue
    if stat.S_ISDIR(mode) or stat.S_ISSOCK(mode) or descriptor > 8:
        found.append((descriptor, oct(mode)))
print("VERDICT", "ESCAPED" if found else "BLOCKED", found[:5], flush=True)

# class: filesystem
# tiers: all
# expect: BLOCKED
# pair: -
# must: No file of the host outside the policy can be read.
import os
import sys

found = []
for path in (
    "/etc/shadow",
    "/etc/ssh/sshd_config",
    "/root/.profile",
    "/var/lib/dpkg/status",
    "/proc/kcore",
    "/proc/1/environ",
):
    try:
        with open(path, "rb") as file:
            if file.read(16):
                found.append(path)
    except (OSError, ValueError):
        pass
for path in ("/root", "/home", "/var/log"):
    try:
        inside = [f"{path}/{name}" for name in os.listdir(path)]
        found += [name for name in inside if not f"{sys.base_prefix}/".startswith(f"{name}/")]  # where Python itself is
    except OSError:
        pass
print("VERDICT", "ESCAPED" if found else "BLOCKED", found[:5], flush=True)

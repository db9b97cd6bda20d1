# class: secrets
# tiers: all
# expect: BLOCKED
# pair: -
# must: No variable of the engine's environment reaches a program.
import os

ours = {"ABUSE_CANARY", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "PWD", "TMPDIR", "TZ"}
found = sorted(name for name in os.environ if name not in ours and not name.startswith("PYTHON"))
print("VERDICT", "ESCAPED" if found else "BLOCKED", found[:5], flush=True)

# class: resource
# tiers: all
# expect: CONTAINED|KILLED_MEM|DIED
# pair: -
# must: Memory is capped.
held = []
try:
    for _ in range(64):
        held.append(bytearray(b"x") * (8 << 20))
except MemoryError:
    held.clear()
    print("VERDICT CONTAINED", flush=True)
else:
    print("VERDICT ESCAPED 512 MiB", flush=True)

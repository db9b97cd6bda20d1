# class: control
# tiers: process
# expect: WORKS
# pair: -
# must: Show what the runner makes of it.
print("VERDICT BLOCKED")

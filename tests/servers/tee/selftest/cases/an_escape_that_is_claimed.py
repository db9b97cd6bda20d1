# class: control
# tiers: process
# expect: BLOCKED
# pair: -
# must: Show what the runner makes of it.
print("VERDICT ESCAPED")

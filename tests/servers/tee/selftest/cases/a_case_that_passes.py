# class: control
# tiers: process
# expect: HARMLESS
# pair: -
# must: Show what the runner makes of it.
print("VERDICT HARMLESS")

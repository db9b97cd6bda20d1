# class: control
# tiers: all
# expect: WORKS
# pair: -
# must: What a program may do works: else a sandbox that refuses everything would pass.
import decimal
import json

with open("note.txt", "w", encoding="utf-8") as file:
    file.write("grüß dich")
with open("note.txt", encoding="utf-8") as file:
    assert file.read() == "grüß dich"
assert json.loads(json.dumps({"sum": str(decimal.Decimal("0.1") + decimal.Decimal("0.2"))})) == {"sum": "0.3"}
print("VERDICT WORKS", flush=True)

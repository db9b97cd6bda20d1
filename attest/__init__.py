"""Offline verification: given bytes, a time and a policy, decide. No I/O, no MCP library, no clock, no globals.

```python
from attest import schemes
from attest.verdict import verify_bundle
from attest.trust import load_policy, load_trust

verdict = verify_bundle(
    data, schemes=schemes.ALL, endorsements=load_trust(trust), policy=load_policy(policy), now=now
)
assert verdict.outcome == "verified"
```
"""

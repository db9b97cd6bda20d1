"""The security policy enforcer: what calls may use, decided by pure functions over one frozen document.

`Policy` is the document, `read_policy` takes a signed one, `BUILT_IN` is there without. `operator.meet(tool)` is what
both grant. The parts decide: `policy.network.decide`, `policy.files.decide`, `policy.decide_tier`, `policy.headers`,
`policy.limits()`; what they refuse is a `Denied`. Which bytes, mounts and filters follow from it is for others.
"""

from servers.tee.policy.base import BadPolicy, Denied
from servers.tee.policy.model import BUILT_IN, Policy, Tier
from servers.tee.policy.network import Granted
from servers.tee.policy.reader import read_policy, read_unsigned

__all__ = ["BUILT_IN", "BadPolicy", "Denied", "Granted", "Policy", "Tier", "read_policy", "read_unsigned"]

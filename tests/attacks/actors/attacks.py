"""What the man in the middle can do, by name."""

import on_calls
import on_identity
from table import ATTACKS

__all__ = ["ATTACKS", "on_calls", "on_identity"]

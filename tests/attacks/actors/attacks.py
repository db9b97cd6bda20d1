"""What the man in the middle can do, by name."""

import on_calls
import on_identity
import on_progress
from table import ATTACKS

__all__ = ["ATTACKS", "on_calls", "on_identity", "on_progress"]

"""The execution policy: what a call may use."""

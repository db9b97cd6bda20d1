"""A TPM 2.0 spoken to without a native library, and the attesters on top of it."""

"""Groth16 over BN254 (EIP-196, EIP-197): strict decoding in plain integers, and two pairings behind it."""

"""The keys of one server process, and the evidence that they are its own."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.evidence import Attester, Binding, Evidence
from attest.seal import SealingKey


class Identity:
    """A signing key and a sealing key made in this process, which never leave it.

    `configuration` is the SHA-256 of the server's configuration document; `boot_id` is 16 fresh random bytes.
    """

    def __init__(self, attester: Attester, configuration: bytes, boot_id: bytes) -> None:
        self._attester, self._configuration, self._boot_id = attester, configuration, boot_id
        self.signing_key = Ed25519PrivateKey.generate()
        self.sealing_key = SealingKey()
        self.key_id = self._bind(bytes(32)).key_id

    def _bind(self, nonce: bytes) -> Binding:
        public = self.signing_key.public_key().public_bytes_raw()
        return Binding(nonce, public, self.sealing_key.public, self._configuration, self._boot_id)

    def evidence(self, nonce: bytes) -> tuple[Evidence, Binding]:
        """Fresh evidence that answers a 32-byte challenge, and what it binds."""
        binding = self._bind(nonce)
        return self._attester.attest(binding.report_data()), binding

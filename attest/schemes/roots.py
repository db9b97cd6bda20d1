"""The roots that the vendors of hardware publish: what a production trust store may hold for them.

SHA-256 of each root certificate in DER, hex. They are public and change about once in a decade. A root by itself
decides nothing: a caller puts it among its anchors (`attest.claims.Endorsements`).
"""

from collections.abc import Mapping
from types import MappingProxyType

VENDOR_ROOTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "intel": frozenset(
            {
                # Intel SGX Root CA, 2018 to 2049, also over TDX:
                # https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer
                "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
            }
        ),
        "amd": frozenset(
            {
                # ARK-Milan, 2020 to 2045: the second certificate of https://kdsintf.amd.com/vcek/v1/Milan/cert_chain
                "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
                # ARK-Genoa, 2022 to 2047, over Bergamo and Siena too: https://kdsintf.amd.com/vcek/v1/Genoa/cert_chain
                "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
                # ARK-Turin, 2023 to 2048: https://kdsintf.amd.com/vcek/v1/Turin/cert_chain
                "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
            }
        ),
        "aws": frozenset(
            {
                # AWS Nitro Enclaves Root-G1, 2019 to 2049:
                # https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip; AWS prints this digest in its
                # guide, "Verifying the root of trust"
                "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b",
            }
        ),
        "nvidia": frozenset(
            {
                # NVIDIA Device Identity CA, from 2021, without an end: the last certificate of a GPU's chain;
                # from github.com/confidential-containers/trustee, deps/verifier/src/nvidia/nvidia_device_root.pem
                "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48",
            }
        ),
    }
)

"""The zkVM releases whose proofs this build can read. Which of them count is the denylist's matter.

RISC Zero: risc0/risc0-ethereum 6329676ed58ab48b4d998011c9dcd5bc658bb619, contracts/src/groth16/ControlID.sol and its
history. SP1: succinctlabs/sp1-contracts d3629729c3216eb51bd4859d027a8eb729399fa4, contracts/src/<version>/.
"""

from collections.abc import Mapping
from dataclasses import dataclass

RISC0_CONTROL_ROOTS: Mapping[str, str] = {
    "1.2": "8cdad9242664be3112aba377c5425a4df735eb1c6966472b561d2855932c0469",
    "2.0": "539032186827b06719244873b17b2d4c122e2d02cfb1994fe958b2523b844576",
    "2.1": "884389273e128b32475b334dec75ee619b77cb33d41c332021fe7e44c746ee60",
    "2.2": "ce52bf56033842021af3cf6db8a50d1b7535c125a34f1a22c6fdcf002c5a1529",
    "3.0": "a54dc85ac99f851c92d7c96d7318af41dbe7c0194edfcc37eb4d422a998c1f56",
    "5.0-rc.1": "b1f64013f70bbb386a8b3a3d63552c5cb5ea4a549ec7fb1ecc2a031dbf488167",
}
"""By release: the root of the recursion programs that its proofs may have gone through."""
RISC0_BN254_CONTROL_ID = "04446e66d300eb7fb45c9726bb53c793dda407a62e9601618bb43c5c14657ac0"
"""Of the last recursion program, which hands over to Groth16; the same in all releases."""


@dataclass(frozen=True, slots=True)
class Sp1Release:
    """`verifier_hash` begins with the selector; `vk_root` is that of the recursion keys, from version 6 on."""

    version: str
    verifier_hash: str
    vk_root: str | None = None


SP1: tuple[Sp1Release, ...] = (
    Sp1Release("v2.0.0", "6a2906ac6ec461c8cacd5b3557157f59317bd572e57bc8253975aaf5c5acb488"),
    Sp1Release("v3.0.0", "090690902a12d1d02c07a1ad25aa76bded5f6499e12a11ba127669501b553998"),
    Sp1Release("v4.0.0-rc.3", "11b6a09d63d255ad425ee3a7f6211d5ec63fbde9805b40551c3136275b6f4eb4"),
    Sp1Release("v5.0.0", "a4594c59bbc142f3b81c3ecb7f50a7c34bc9af7c4c444b5d48b795427e285913"),
    Sp1Release(
        "v6.0.0",
        "0e78f4db7a6771a3a6a7d9c3b0de6fe73d58781368967a7fe84d87aefffec896",
        "008cd56e10c2fe24795cff1e1d1f40d3a324528d315674da45d26afb376e8670",
    ),
    Sp1Release(
        "v6.1.0",
        "4388a21c687fdd5f218d7e3d13190cac4c5355818d3605fd5fb811df468ee696",
        "002f850ee998974d6cc00e50cd0814b098c05bfade466d28573240d057f25352",
    ),
)

SP1_PLONK: Mapping[str, str] = {
    "4aca240a": "v2.0.0",
    "54bdcae3": "v3.0.0",
    "1b34fe11": "v4.0.0-rc.3",
    "d4e8ecd2": "v5.0.0",
    "bb1a6f29": "v6.0.0",
    "5a093a2f": "v6.1.0",
}
"""Selectors of SP1's other proof system, SP1VerifierPlonk.sol: named, so that they can be refused by name."""

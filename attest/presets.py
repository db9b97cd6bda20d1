"""Policies by name, and the one that counts where none is named.

`production` refuses everything until reference values stand beside it.
"""

from collections.abc import Mapping

from attest.policy import AllOf, AnyOf, MinAssurance, NotDebug, Policy
from attest.rules import Detail, NoTestRoots, Schemes, TcbStatus

CURRENT = TcbStatus(frozenset({"UpToDate", "SWHardeningNeeded"}))
UNNAMED: Policy = AllOf((NotDebug(), CURRENT, MinAssurance("software")))
"""Somebody whom the caller trusts vouches for it, and no vendor says that its platform is out of date."""
PRESETS: Mapping[str, Policy] = {
    "production": AllOf(
        (
            NotDebug(),
            NoTestRoots(),
            CURRENT,
            AnyOf(
                (
                    Schemes(frozenset({"intel-tdx", "intel-sgx", "aws-nitro"})),
                    # Nobody else in the guest, and nobody outside who may move it, stands above what was measured.
                    AllOf(
                        (
                            Schemes(frozenset({"amd-sev-snp", "azure-vtpm"})),
                            Detail("vmpl", frozenset({"0"})),
                            Detail("migrationAgent", frozenset({"no"})),
                        )
                    ),
                )
            ),
            MinAssurance("hardware"),
        )
    ),
    "development": AllOf((NotDebug(), MinAssurance("software"))),
}

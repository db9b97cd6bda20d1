"""Policies by name. `production` refuses everything until reference values stand beside it."""

from collections.abc import Mapping

from attest.policy import AllOf, AnyOf, MinAssurance, NotDebug, Policy
from attest.rules import Detail, NoTestRoots, Schemes, TcbStatus

PRESETS: Mapping[str, Policy] = {
    "production": AllOf(
        (
            NotDebug(),
            NoTestRoots(),
            TcbStatus(frozenset({"UpToDate", "SWHardeningNeeded"})),
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

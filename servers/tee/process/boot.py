"""What the fork server's interpreter runs: `python -I -S boot.py SOCKET`. Finds this package, and only this."""

import sys
from pathlib import Path

if __name__ == "__main__":
    here = str(Path(__file__).resolve().parents[3])
    sys.path.append(here)
    from servers.tee.process import forkserver

    sys.path.remove(here)
    forkserver.main()

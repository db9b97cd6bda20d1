"""Many processes open one new file at the same moment, as several clients that start `etmcp stdio` do."""

import subprocess
import sys
from pathlib import Path

PROCESSES, FILES = 6, 40
OPEN = """
import sys
from pathlib import Path
from registry.database import connect

print(flush=True)
for line in sys.stdin:
    connection = connect(Path(line.strip()))
    connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
    print(connection.execute("PRAGMA journal_mode").fetchone()[0], flush=True)
    connection.close()
"""


def test_a_new_file_that_several_processes_open_at_once_is_opened_by_all(tmp_path: Path) -> None:
    openers = [
        subprocess.Popen([sys.executable, "-c", OPEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    for opener in openers:
        assert opener.stdout
        opener.stdout.readline()
    for number in range(FILES):
        for opener in openers:
            assert opener.stdin
            print(tmp_path / f"{number}.sqlite", file=opener.stdin, flush=True)
        for opener in openers:
            assert opener.stdout
            assert opener.stdout.readline() == "wal\n"
    for opener in openers:
        opener.communicate()
        assert opener.returncode == 0

"""The parent of one stdio server: when the gateway goes, however it goes, the server's whole process tree goes too.

Run by `spawn.py` as a script of its own (standard library only, and little of it: start-up time counts), never
imported by the gateway. It is not on the data path: the server gets the pipes themselves.

* The keeper is a child subreaper, so descendants that daemonise come back to it and are found in /proc.
* The gateway holds the write end of the *liveness* pipe. A byte on it means "stop, politely": SIGTERM, and SIGKILL
  after the grace. End of file means that the gateway died, by kill -9 for instance: SIGKILL at once. SIGTERM from the
  kernel (parent death signal) says the same, should some other process have kept the pipe open.
* The server in turn is killed by the kernel when the keeper dies.
* On the *status* pipe it writes JSON lines: {"started": pid, "landlock": ABI, or 0 and a reason}, then
  {"exited": code} (negative: the signal), or {"failed": errno, "step": what}.

Its own environment holds the server's, each name prefixed with "child.", so that neither secrets appear among the
arguments nor LD_PRELOAD and the like reach the keeper.

Landlock hides directories: their files cannot be read, written, created, renamed or executed by the server or any
descendant. It hides neither names nor sizes, and a socket in there can still be connected to. Because it can only
allow, everything else is allowed entry by entry: what appears *beside* the hidden directory or one of its parents
after the start stays out of reach until the server starts again. Privileges cannot be gained afterwards (sudo, mount).

Not on Linux: no subreaper and no Landlock; only the server's own process group is killed.
"""

# Neither pathlib nor contextlib: each costs milliseconds at start-up.
# ruff: noqa: PTH118, PTH123, PTH208, SIM105

import ctypes
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # one number on every architecture
READ_DIR = 1 << 3
ON_FILES = 0b111 | 1 << 14  # execute, write, read, truncate: what a rule on a plain file may name
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1}  # by ABI version; without REFER (2) files cannot move between folders
ALL_RIGHTS = (1 << 15) - 1  # from version 3 on, with TRUNCATE; what later versions add hides no file

libc = ctypes.CDLL(None, use_errno=True)


class Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr, as of its first version."""

    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class PathBeneath(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def syscall(number: int, *arguments: object) -> int:
    """Call the kernel; raises OSError."""
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def prctl(option: int, value: int) -> None:
    """Set a process attribute; raises OSError."""
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def landlock_version() -> int:
    """Return the kernel's Landlock ABI version, 0 without Landlock."""
    try:
        return syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)) if LINUX else 0
    except OSError:
        return 0


def hide(directories: list[str], version: int) -> None:
    """Take access to `directories` from this process and all it starts. Raises OSError."""
    rights = RIGHTS.get(version, ALL_RIGHTS)
    hidden = {os.path.realpath(directory) for directory in directories}
    hidden = {path for path in hidden if not hidden.intersection(parents_of(path))}
    parents = {parent for path in hidden for parent in parents_of(path)}
    ruleset = syscall(CREATE_RULESET, ctypes.byref(Ruleset(rights)), ctypes.c_size_t(8), ctypes.c_uint32(0))
    for parent in parents:
        allow(ruleset, parent, READ_DIR)
        try:
            entries = [os.path.join(parent, name) for name in os.listdir(parent)]
        except OSError:
            continue  # absent, or closed to this user anyway
        for entry in entries:
            if entry not in hidden and entry not in parents:
                allow(ruleset, entry, rights)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)


def parents_of(path: str) -> list[str]:
    """Return every directory above an absolute path."""
    names = path.strip("/").split("/")
    return ["/" + "/".join(names[:n]) for n in range(len(names))] if path != "/" else []


def allow(ruleset: int, path: str, rights: int) -> None:
    """Grant `rights` beneath `path`; none for a symbolic link, whose target has a rule of its own or is hidden."""
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # gone in between, or in a folder that this user cannot enter
    try:
        kind = os.fstat(fd).st_mode & 0o170000
        if kind != 0o120000:
            rule = PathBeneath(rights if kind == 0o040000 else rights & ON_FILES, fd)
            syscall(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(fd)


class Keeper:
    """The state of one run."""

    def __init__(self, live: int, status: int, parent: int, grace: float) -> None:
        self.live, self.status, self.parent, self.grace = live, status, parent, grace
        self.main = 0  # pid of the server, 0 once reaped
        self.wake, self.wake_write = os.pipe()  # signals end here, written by the interpreter
        for fd in (self.wake, self.wake_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)

    def say(self, line: str) -> None:
        """Report to the gateway, if it still listens."""
        try:
            os.write(self.status, line.encode() + b"\n")
        except OSError:
            pass

    def start(self, command: list[str], environment: dict[str, str], cwd: str, pin: int, hidden: list[str]) -> bool:
        """Start the server and report it. Returns whether it runs."""
        version = landlock_version() if hidden else 0
        trouble, trouble_write = os.pipe()  # closed by a successful exec
        self.main = os.fork()
        if self.main == 0:
            step = "prepare"
            try:
                os.setsid()
                signal.set_wakeup_fd(-1)
                for number in signal.valid_signals():
                    if signal.getsignal(number) == signal.SIG_IGN:  # the one disposition that survives exec
                        signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                if LINUX:
                    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if pin >= 0:
                    os.set_inheritable(pin, True)
                    environment["ETMCP_PIN_FD"] = str(pin)
                step = "cwd"
                os.chdir(cwd)
                step = "landlock"
                if version:
                    hide(hidden, version)
                step = "exec"
                os.execvpe(command[0], command, environment)  # noqa: S606 - the point of it all
            except BaseException as error:  # noqa: BLE001 - nothing may escape into the keeper's code below
                number = getattr(error, "errno", None) or 0
                os.write(trouble_write, f'{{"failed": {number}, "step": "{step}"}}'.encode())
            os._exit(127)
        os.close(trouble_write)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)  # from here on only the server and its descendants hold the data pipes
        os.dup2(nothing, 1)
        if pin >= 0:
            os.close(pin)
        failure = os.read(trouble, 4096)
        os.close(trouble)
        if failure:
            os.waitpid(self.main, 0)
            self.say(failure.decode())
            return False
        reason = ', "reason": "this kernel has no Landlock"' if hidden and not version else ""
        self.say(f'{{"started": {self.main}, "landlock": {version}{reason}}}')
        return True

    def reap(self) -> bool:
        """Collect the dead. Returns whether no child is left."""
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.main:
                self.main = 0
                self.say(f'{{"exited": {os.waitstatus_to_exitcode(wait_status)}}}')

    def wait(self, seconds: float | None) -> str:
        """Sleep until a signal, an order or the timeout. Returns "stop", "kill" or ""."""
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        poll.register(self.live, select.POLLIN)
        ready = dict(poll.poll(None if seconds is None else max(0, seconds * 1000)))
        if self.live in ready:
            return "stop" if os.read(self.live, 1) else "kill"
        if self.wake in ready and signal.SIGTERM in os.read(self.wake, 4096):
            return "stop" if os.getppid() == self.parent else "kill"
        return ""

    def run(self) -> None:
        """Keep the server until it exits or has to, then end what is left of its tree."""
        order = ""
        group = self.main  # the pid of the server is also its process group, which outlives it
        while self.main and not order:
            order = self.wait(None)
            self.reap()
        if order != "kill" and not self.reap():
            order = self.end_politely(group)
        if order == "kill":
            self.end_at_once(group)
        if not LINUX:
            send(os.killpg, group, signal.SIGKILL)  # orphans never come back here

    def end_politely(self, group: int) -> str:
        """SIGTERM to all, and time to follow it. Returns "kill" when that time is over."""
        signal_tree(group, signal.SIGTERM)
        until = time.monotonic() + self.grace
        while not self.reap():
            if time.monotonic() >= until or self.wait(until - time.monotonic()) == "kill":
                return "kill"
        return ""

    def end_at_once(self, group: int) -> None:
        """SIGKILL until nobody is left; orphans come back to this process and are seen in the next round."""
        pause = 0.01
        while not self.reap():
            signal_tree(group, signal.SIGKILL)
            if select.select([self.wake], [], [], pause)[0]:
                os.read(self.wake, 4096)
            pause = min(1, pause * 1.5)  # someone hangs in the kernel: no use in hurry


def descendants() -> dict[int, int]:
    """Return pid -> process group of every descendant of this process."""
    parents: dict[int, int] = {}
    groups: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue  # gone in between
            parents[int(name)], groups[int(name)] = int(fields[1]), int(fields[2])
    tree = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in tree and pid not in tree}:
        tree |= grown
    return {pid: groups[pid] for pid in tree if pid in groups and pid != os.getpid()}


def signal_tree(group: int, number: int) -> None:
    """Signal every descendant: first by process group, which no fork can slip out of, then one by one."""
    tree = descendants() if LINUX else {}
    groups = set(tree.values()) if LINUX else {group}  # on Linux only those seen just now: numbers are used again
    for target in groups - {os.getpgrp()}:
        send(os.killpg, target, number)
    for pid in tree:
        send(os.kill, pid, number)
    if number != signal.SIGKILL:
        for pid in tree:
            send(os.kill, pid, signal.SIGCONT)  # a stopped process does not see SIGTERM


def send(kill: "Callable[[int, int], None]", target: int, number: int) -> None:
    """Signal one target that may be gone or, after setuid, out of reach."""
    try:
        kill(target, number)
    except OSError:
        pass


def main(arguments: list[str]) -> None:
    """Arguments: liveness fd, status fd, pin fd or -1, gateway pid, grace, folder, n, n hidden folders, command."""
    live, status, pin, parent = map(int, arguments[:4])
    for fd in (live, status, pin):
        if fd >= 0:
            os.set_inheritable(fd, False)
    if LINUX:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    count = int(arguments[6])
    hidden, command = arguments[7 : 7 + count], arguments[7 + count :]
    environment = {name[6:]: value for name, value in os.environ.items() if name.startswith("child.")}
    keeper = Keeper(live, status, parent, float(arguments[4]))
    if keeper.start(command, environment, arguments[5], pin, hidden):
        keeper.run()


if __name__ == "__main__":
    main(sys.argv[1:])

"""System call numbers of the two machines that the filters are written for (Linux `unistd.h`; a dash: not there).

A call that is not listed here cannot be allowed by a profile.
"""

from collections.abc import Mapping

_TABLE = """
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69, pwritev 296 70,
preadv2 327 286, pwritev2 328 287, close 3 57, close_range 436 436, fstat 5 80, stat 4 -, lstat 6 -,
newfstatat 262 79, statx 332 291, lseek 8 62, mmap 9 222, munmap 11 215, mprotect 10 226, mremap 25 216,
madvise 28 233, brk 12 214, msync 26 227, memfd_create 319 279, rt_sigaction 13 134, rt_sigprocmask 14 135,
rt_sigreturn 15 139, rt_sigsuspend 130 133, rt_sigtimedwait 128 137, rt_sigpending 127 136, sigaltstack 131 132,
signalfd4 289 74, pause 34 -, ioctl 16 29, fcntl 72 25, prctl 157 167, access 21 -, faccessat 269 48,
faccessat2 439 439, pipe 22 -, pipe2 293 59, dup 32 23, dup2 33 -, dup3 292 24, select 23 -, pselect6 270 72,
poll 7 -, ppoll 271 73, epoll_create1 291 20, epoll_create 213 -, epoll_ctl 233 21, epoll_wait 232 -,
epoll_pwait 281 22, epoll_pwait2 441 441, eventfd2 290 19, timerfd_create 283 85, timerfd_settime 286 86,
timerfd_gettime 287 87, sched_yield 24 124, sched_getaffinity 204 123, sched_getparam 143 121,
sched_getscheduler 145 120, sched_get_priority_max 146 125, sched_get_priority_min 147 126, getpriority 140 141,
getcpu 309 168, membarrier 324 283, nanosleep 35 101, clock_nanosleep 230 115, clock_gettime 228 113,
clock_getres 229 114, gettimeofday 96 169, time 201 -, times 100 153, getitimer 36 102, setitimer 38 103, alarm 37 -,
getpid 39 172, getppid 110 173, gettid 186 178, getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177,
getgroups 115 158, getresuid 118 148, getresgid 120 150, getpgrp 111 -, getpgid 121 155, getsid 124 156,
capget 125 90, fsync 74 82, fdatasync 75 83, truncate 76 45, ftruncate 77 46, fallocate 285 47, getdents64 217 61,
getcwd 79 17, chdir 80 49, fchdir 81 50, rename 82 -, renameat 264 38, renameat2 316 276, mkdir 83 -, mkdirat 258 34,
rmdir 84 -, unlink 87 -, unlinkat 263 35, symlink 88 -, symlinkat 266 36, link 86 -, linkat 265 37, readlink 89 -,
readlinkat 267 78, chmod 90 -, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452, umask 95 166, utimensat 280 88,
utime 132 -, utimes 235 -, futimesat 261 -, open 2 -, openat 257 56, creat 85 -, getxattr 191 8, lgetxattr 192 9,
fgetxattr 193 10, listxattr 194 11, llistxattr 195 12, flistxattr 196 13, chown 92 -, fchown 93 55, lchown 94 -,
fchownat 260 54, uname 63 160, getrlimit 97 163, prlimit64 302 261, getrusage 98 165, sysinfo 99 179, exit 60 93,
exit_group 231 94, wait4 61 260, waitid 247 95, futex 202 98, futex_waitv 449 449, set_robust_list 273 99,
get_robust_list 274 100, rseq 334 293, set_tid_address 218 96, arch_prctl 158 -, restart_syscall 219 128,
getrandom 318 278, sendfile 40 71, copy_file_range 326 285, splice 275 76, tee 276 77, kill 62 129, tkill 200 130,
tgkill 234 131, statfs 137 43, fstatfs 138 44, fadvise64 221 223, sync_file_range 277 84, readahead 187 213,
clone 56 220, clone3 435 435, openat2 437 437, fork 57 -, vfork 58 -, execve 59 221, execveat 322 281,
setpgid 109 154, setsid 112 157, socket 41 198, socketpair 53 199, connect 42 203, bind 49 200, listen 50 201,
accept 43 202, accept4 288 242, sendto 44 206, recvfrom 45 207, sendmsg 46 211, recvmsg 47 212, sendmmsg 307 269,
recvmmsg 299 243, shutdown 48 210, getsockopt 55 209, setsockopt 54 208, getsockname 51 204, getpeername 52 205,
seccomp 317 277, capset 126 91, mount 165 40, umount2 166 39, pivot_root 155 41, setns 308 268, sethostname 170 161,
unshare 272 97, pidfd_open 434 434, landlock_create_ruleset 444 444, landlock_add_rule 445 445,
landlock_restrict_self 446 446, flock 73 32, mount_setattr 442 442, ptrace 101 117, io_uring_setup 425 425
"""  # name, x86_64, aarch64


def _column(index: int) -> Mapping[str, int]:
    rows = (entry.split() for entry in _TABLE.replace("\n", " ").split(","))
    return {row[0]: int(row[index]) for row in rows if row[index] != "-"}


NUMBERS: Mapping[str, Mapping[str, int]] = {"x86_64": _column(1), "aarch64": _column(2)}
"""Machine, as `platform.machine()` names it, to name to number."""

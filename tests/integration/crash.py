"""Kill a loader exactly before its n-th change to the file system, or at a random moment.

How: a seccomp filter in the loader hands only those system calls that change files to its tracer (ptrace), before the
kernel carries them out; the tracer lets n - 1 of them finish and then sends SIGKILL. Why so: the calls come from the
threads of delta-rs (Rust) and DuckDB (C++), which no patch of Python's `os` sees; and it needs nothing but Linux 5.3
or newer and the standard library, where strace or a library to preload need an installation or a compiler. All other
calls run at full speed, so a traced load takes no longer than any other.

Run as a program, this file is the warden: it imports the loader once, stays without threads of its own making, and
forks a loader for every line of JSON it is sent. A fork costs nothing where a fresh Python spends half a second on
imports; it is safe as long as no work was done on the libraries' threads before it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import json
import os
import platform
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOAD = ("lakeops.pipeline:run_load",)
AT_FDCWD = -100
O_CREATES = os.O_CREAT | os.O_TRUNC

# What changes the tree, by call: (number on x86_64, number on aarch64, where its paths stand).
# A place is (argument of the directory's descriptor or None, argument of the path); ("fd", n) is an open file.
_TREE_CALLS = {
    "open": (2, None, [(None, 0)]),
    "creat": (85, None, [(None, 0)]),
    "openat": (257, 56, [(0, 1)]),
    "openat2": (437, 437, [(0, 1)]),
    "mkdir": (83, None, [(None, 0)]),
    "mkdirat": (258, 34, [(0, 1)]),
    "rmdir": (84, None, [(None, 0)]),
    "unlink": (87, None, [(None, 0)]),
    "unlinkat": (263, 35, [(0, 1)]),
    "rename": (82, None, [(None, 0), (None, 1)]),
    "renameat": (264, 38, [(0, 1), (2, 3)]),
    "renameat2": (316, 276, [(0, 1), (2, 3)]),
    "link": (86, None, [(None, 0), (None, 1)]),
    "linkat": (265, 37, [(0, 1), (2, 3)]),
    "symlink": (88, None, [(None, 1)]),
    "symlinkat": (266, 36, [(1, 2)]),
    "truncate": (76, 45, [(None, 0)]),
    "ftruncate": (77, 46, [("fd", 0)]),
}
# What changes the content of an open file: the long version kills there as well, in the middle of files.
_WRITE_CALLS = {
    "write": (1, 64, [("fd", 0)]),
    "writev": (20, 66, [("fd", 0)]),
    "pwrite64": (18, 68, [("fd", 0)]),
    "pwritev": (296, 70, [("fd", 0)]),
    "pwritev2": (328, 287, [("fd", 0)]),
    "fallocate": (285, 47, [("fd", 0)]),
    "sendfile": (40, 71, [("fd", 0)]),
    "copy_file_range": (326, 285, [("fd", 2)]),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the tables above, audit number

_PTRACE_CONT, _PTRACE_SYSCALL, _PTRACE_SEIZE, _PTRACE_GET_SYSCALL_INFO = 7, 24, 0x4206, 0x420E
_EVENT_SECCOMP, _EVENT_STOP = 7, 128
# sysgood, fork, vfork, clone, exec, seccomp, and: if the tracer dies, so do the loaders
_OPTIONS = 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x80 | 0x100000
_WALL = 0x40000000
_ENTRY_OF_SECCOMP = 3
# A loader that hangs is killed as well, and then was not killed where it was ordered.
_PATIENCE_SECONDS = 120.0


class TracingNotPossibleError(RuntimeError):
    """This machine does not let us see a loader's system calls."""


@dataclass
class Killed:
    """What became of one loader.

    Parameters
    ----------
    changes : the changes it made, in order, as "call path"; with the one it was killed before, if it was.
    done : how many of them were carried out.
    status : exit code, or minus the signal.
    seconds : from its first change to its last.
    said : its output.
    """

    changes: list[str] = field(default_factory=list)
    done: int = 0
    status: int = 0
    seconds: float = 0.0
    said: str = ""

    @property
    def was_killed(self) -> bool:
        """Tell whether it came to its death, and not to its end."""
        return self.status == -signal.SIGKILL


class Warden:
    """A process that starts loaders and kills them; use it as a context."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Warden:
        # The package as this process has it, also where another checkout is the installed one.
        folders = [str(Path(sys.modules["lakeops"].__file__).parents[1])] if "lakeops" in sys.modules else []
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def run(
        self,
        root: Path,
        kill_before: int | None = None,
        kill_after: float | None = None,
        writes: bool = False,
        fresh: bool = False,
        limits: dict[str, int] | None = None,
        work: tuple[str | None, ...] = LOAD,
    ) -> Killed:
        """Start a loader on the project in `root`.

        Parameters
        ----------
        kill_before : number of the change, from 1, that it must not live to make.
        kill_after : seconds from its first change to its death.
        writes : count writes into open files as changes too.
        fresh : start a Python of its own in place of a fork.
        limits : see `set_limits`.
        work : what the process does; see `call`.

        Raises
        ------
        TracingNotPossibleError : the machine does not let us do this.
        """
        assert self._process
        order = {
            "root": os.path.realpath(root),
            "kill_before": kill_before,
            "kill_after": kill_after,
            "writes": writes,
            "fresh": fresh,
            "limits": limits or {},
            "work": work,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"impossible": "the warden died"}')
        if "impossible" in answer:
            raise TracingNotPossibleError(answer["impossible"])
        return Killed(**answer)


def has_happened(root: Path, change: str) -> bool | None:
    """Tell whether a change is to be seen on the disk; None where that cannot be told from the names alone."""
    call, *paths = change.split(" ")
    if call.startswith(("link", "rename", "mkdir", "symlink")):
        return os.path.lexists(root / paths[-1])
    if call.startswith(("unlink", "rmdir")):
        return not os.path.lexists(root / paths[-1])
    return None


def set_limits(limits: dict[str, int]) -> dict[str, int]:
    """Set constants of the loader, named "module:NAME", so that a small load does what a large one does.

    Returns
    -------
    The values they had before.
    """
    old = {}
    for place, value in limits.items():
        module, name = place.split(":")
        old[place] = getattr(importlib.import_module(module), name)
        setattr(sys.modules[module], name, value)
    return old


def call(work: Sequence[str | None], settings: object) -> object:
    """Call "module:function" with a project's settings and the further words of `work`."""
    module, function = work[0].split(":")
    return getattr(importlib.import_module(module), function)(settings, *work[1:])


def count_kinds(changes: list[str]) -> Counter[str]:
    """Return how many changes there are of each call."""
    return Counter(change.split(" ")[0] for change in changes)


# From here on: inside the warden.


def _work(order: dict) -> int:
    from lakeops.paths import Lake
    from lakeops.settings import Settings

    set_limits(order["limits"])
    root = Path(order["root"])
    call(order["work"], Settings(root, root / "data_raw", Lake(root / "lake"), root / "duckdb" / "warehouse.duckdb"))
    return 0


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def _ptrace(request: int, pid: int, address: int = 0, data: int | ctypes.Array = 0) -> int:
    pointer = ctypes.addressof(data) if isinstance(data, ctypes.Array) else data
    result = _libc.ptrace(request, pid, address, pointer)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"ptrace request {request:#x}")
    return result


def _get_calls(writes: bool) -> dict[int, tuple[str, list]]:
    column, _ = _MACHINES[platform.machine()]
    calls = _TREE_CALLS | (_WRITE_CALLS if writes else {})
    return {row[column]: (name, row[2]) for name, row in calls.items() if row[column] is not None}


def _install_filter(writes: bool) -> None:
    """Have the kernel stop this process, and all it starts, before every call that changes files."""
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06  # BPF: LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
    allow, trace = 0x7FFF0000, 0x7FF00000
    _, machine = _MACHINES[platform.machine()]
    program = [(load, 0, 0, 4), (equal, 1, 0, machine), (answer, 0, 0, allow), (load, 0, 0, 0)]
    for number, (name, _) in _get_calls(writes).items():
        flags = {"open": 1, "openat": 2}.get(name)
        if flags is None:
            program += [(equal, 0, 1, number), (answer, 0, 0, trace)]
        else:  # only an open that may create or empty the file
            low = 16 + 8 * flags
            program += [(equal, 0, 4, number), (load, 0, 0, low), (any_bit, 0, 1, O_CREATES), (answer, 0, 0, trace),
                        (answer, 0, 0, allow)]  # fmt: skip
    program.append((answer, 0, 0, allow))
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    held = ctypes.create_string_buffer(code)
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(held)))
    if _libc.prctl(38, 1, 0, 0, 0) or _libc.prctl(22, 2, ctypes.addressof(header), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel took no seccomp filter")


def _start(order: dict, said: int) -> tuple[int, int]:
    """Fork a loader that waits for a byte on a pipe; returns its process and the pipe's end."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid:
        os.close(ready)
        return pid, go
    status = 3
    try:
        os.close(go)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.read(ready, 1)
        os.close(ready)
        os.chdir(order["root"])
        _install_filter(order["writes"])
        if order["fresh"]:
            os.execv(sys.executable, [sys.executable, __file__, "--work", json.dumps(order)])
        status = _work(order)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Tracer:
    """Follows one loader and all its threads until it is dead."""

    def __init__(self, order: dict, pid: int) -> None:
        self.pid = pid
        self.order = order
        self.calls = _get_calls(order["writes"])
        self.prefixes = tuple(f"{order['root']}/{name}/" for name in ("lake", "duckdb"))
        self.killed = Killed()
        self.in_flight: set[int] = set()
        self.doomed = False
        self.first = self.last = 0.0

    def follow(self) -> Killed:
        """Let the loader run, count its changes, and kill it where it was ordered."""
        while True:
            try:
                tid, status = os.waitpid(-1, _WALL)
            except ChildProcessError:
                break
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                self.in_flight.discard(tid)
                if tid == self.pid:
                    self.killed.status = os.waitstatus_to_exitcode(status)
                continue
            with contextlib.suppress(ProcessLookupError):  # it died while we looked at it
                self._go_on(tid, status)
        self.killed.seconds = self.last - self.first
        return self.killed

    def _go_on(self, tid: int, status: int) -> None:
        stopped_by, event = os.WSTOPSIG(status), status >> 16
        if event == _EVENT_SECCOMP:
            change = self._read_change(tid)
            if change is None:
                _ptrace(_PTRACE_CONT, tid)
            elif not self.doomed:
                self._note(tid, change)
        elif stopped_by == signal.SIGTRAP | 0x80:  # a counted call has returned
            self.in_flight.discard(tid)
            self.killed.done += 1
            self.last = time.monotonic()
            _ptrace(_PTRACE_CONT, tid)
            self._kill_if_due()
        else:
            passed_on = 0 if event or stopped_by == signal.SIGTRAP else stopped_by
            _ptrace(_PTRACE_CONT, tid, 0, passed_on)

    def _note(self, tid: int, change: str) -> None:
        self.killed.changes.append(change)
        if len(self.killed.changes) == self.order["kill_before"]:
            # Left standing before the call; changes that other threads began before it come to their end first.
            self.doomed = True
            self._kill_if_due()
            return
        if not self.first:
            self.first = time.monotonic()
            if self.order["kill_after"] is not None:
                signal.setitimer(signal.ITIMER_REAL, max(self.order["kill_after"], 1e-6))
        self.in_flight.add(tid)
        _ptrace(_PTRACE_SYSCALL, tid)

    def _kill_if_due(self) -> None:
        if self.doomed and not self.in_flight:
            os.kill(self.pid, signal.SIGKILL)

    def _read_change(self, tid: int) -> str | None:
        """Return the call a thread is about to make, if it changes the lake or the warehouse."""
        info = ctypes.create_string_buffer(88)
        _ptrace(_PTRACE_GET_SYSCALL_INFO, tid, len(info), info)
        kind, number, *arguments = struct.unpack_from("=B23xQ6Q", info.raw)
        assert kind == _ENTRY_OF_SECCOMP
        name, places = self.calls[number]
        if name == "openat2":
            with Path(f"/proc/{tid}/mem").open("rb", 0) as memory:
                memory.seek(arguments[2])
                if not struct.unpack("=Q", memory.read(8))[0] & O_CREATES:
                    return None
        paths = [_read_path(tid, arguments, place) for place in places]
        if not any(f"{path}/".startswith(self.prefixes) for path in paths):
            return None
        if name.startswith("mkdir") and Path(paths[0]).is_dir():
            return None  # "make it if it is missing", and it is not
        short = [os.path.relpath(path, self.order["root"]) for path in paths]
        return " ".join([name, *short])


def _read_path(tid: int, arguments: list[int], place: tuple) -> str:
    folder, argument = place
    if folder == "fd":
        return _read_descriptor(tid, arguments[argument])
    text = b""
    with contextlib.suppress(OSError), Path(f"/proc/{tid}/mem").open("rb", 0) as memory:
        while b"\0" not in text and len(text) < 4096:
            address = arguments[argument] + len(text)
            memory.seek(address)
            # Not across a page's end, which may be the mapping's.
            piece = memory.read(4096 - address % 4096)
            if not piece:
                break
            text += piece
    path = os.fsdecode(text.split(b"\0")[0])
    base = "/" if path.startswith("/") else _read_descriptor(tid, AT_FDCWD if folder is None else arguments[folder])
    return os.path.normpath(Path(base, path))


def _read_descriptor(tid: int, descriptor: int) -> str:
    number = ctypes.c_int32(descriptor & 0xFFFFFFFF).value
    try:
        return str(Path(f"/proc/{tid}", "cwd" if number == AT_FDCWD else f"fd/{number}").readlink())
    except OSError:  # no such file is open: the call will fail, and change nothing
        return "/"


def _carry_out(order: dict) -> dict:
    said = os.memfd_create("said")
    pid, go = _start(order, said)
    tracer = _Tracer(order, pid)
    handle = os.pidfd_open(pid)

    def kill(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # it came to its end just now
            signal.pidfd_send_signal(handle, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS)
    try:
        _ptrace(_PTRACE_SEIZE, pid, 0, _OPTIONS)
        os.write(go, b"g")
        killed = tracer.follow()
    except BaseException:
        kill()
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.close(go)
        os.close(handle)
    killed.said = os.pread(said, 1 << 20, 0).decode(errors="replace")
    os.close(said)
    return vars(killed)


def _explain_impossible(error: OSError) -> str:
    why = {
        errno.EPERM: "ptrace is forbidden here (a container without it, or kernel.yama.ptrace_scope = 3)",
        errno.EIO: "the kernel does not know this ptrace request (Linux 5.3 or newer is needed)",
    }.get(error.errno, "an unexpected answer of the kernel")
    return f"{why}: {error}"


def main() -> None:
    """Serve orders, one line of JSON each, until the input ends."""
    if sys.argv[1:2] == ["--work"]:
        sys.exit(_work(json.loads(sys.argv[2])))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        print(json.dumps({"impossible": "needs Linux on x86_64 or aarch64"}), file=answers, flush=True)
        return
    import deltalake  # noqa: F401
    import duckdb  # noqa: F401
    import polars  # noqa: F401
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401

    import lakeops.pipeline
    import lakeops.warehouse  # noqa: F401

    for line in sys.stdin:
        try:
            answer = _carry_out(json.loads(line))
        except OSError as error:
            answer = {"impossible": _explain_impossible(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

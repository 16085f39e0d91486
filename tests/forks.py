"""Commands without the seconds in which each of them imports torch, DVC and MLflow.

A process imports them once; `expunge`, `dvc` and the steps of the pipeline then run as forks of it. Each is a process
of its own, with the arguments, folder, environment and streams of whoever called it, and imports this library itself.
Other calls of `python` are passed on.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

PYTHON = sys.executable
ENTRIES = {"expunge": "expunge.cli:main", "dvc": "dvc.cli:main"}
MODULES = ("expunge.steps.", "flows.release")
"""What is forked of the calls `python -m MODULE`."""
SHARED = (
    "dvc.cli",
    "dvc.repo",
    "dvc.repo.reproduce",
    "dvc.repo.status",
    "dvc.stage.cache",
    "dvc.commands.repro",
    "dvc.commands.status",
    "dvc.scm",
    "dvc_data.index",
    "duckdb",
    "faiss",
    "git",
    "jinja2",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "safetensors.torch",
    "scipy.optimize",
    "scipy.special",
    "scipy.stats",
    "securesystemslib.dsse",
    "securesystemslib.signer",
    "sklearn.covariance",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sqlalchemy.dialects.sqlite",
    "torch.nn.utils.parametrize",
    "torchvision.transforms.v2",
    "typer",
)
"""Packages of others; none reads at its import what differs from one command to the next."""

OPERATORS = "expunge.models._torchvision"
"""What declares operators to torch once for all forks."""

CALL = """#!{python} -ISs
import json, os, socket, sys
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
if name == "python" and not (words[:1] == ["-m"] and words[1].startswith({modules!r})):
    os.execv({python!r}, [{python!r}, *words])
call = socket.socket(socket.AF_UNIX)
call.connect({address!r})
said = json.dumps({{"name": name, "words": words, "folder": os.getcwd(), "environment": dict(os.environ)}}).encode()
socket.send_fds(call, [len(said).to_bytes(4, "big")], [0, 1, 2])
call.sendall(said)
code = call.recv(1)
sys.exit(code[0] if code else 1)
"""


@contextmanager
def forks() -> Iterator[Path]:
    """Start the process and stop it; yields the folder of the commands that call it, to be first on `PATH`."""
    with tempfile.TemporaryDirectory(prefix="expunge-forks-") as name:
        folder, address = Path(name) / "bin", f"{name}/socket"
        folder.mkdir()
        for command in ("python", *ENTRIES):
            call = folder / command
            call.write_text(CALL.format(python=PYTHON, modules=MODULES, address=address), encoding="utf-8")
            call.chmod(0o755)
        process = subprocess.Popen(
            [PYTHON, __file__, address, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield folder
        finally:
            process.communicate()  # whose end of input it is waiting for


def serve(address: str) -> dict[str, Any]:
    """Answer calls; returns in each fork, with the call that it is for."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(16)
    ended, wake = os.pipe()
    for end in (ended, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([0, listener, ended, *running.values()], [], [])
        if 0 in ready:  # who started this process has gone
            os._exit(0)
        if listener in ready:
            caller, _ = listener.accept()
            size, streams, _, _ = socket.recv_fds(caller, 4, 3)
            said = caller.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for one in (listener, caller, *running.values()):
                    one.close()
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                for number in (ended, wake, *streams):
                    os.close(number)
                return json.loads(said)
            for stream in streams:
                os.close(stream)
            running[pid] = caller
        for pid in [pid for pid, caller in running.items() if caller in ready]:
            os.kill(pid, signal.SIGKILL)  # who called has gone
        if ended in ready:
            os.read(ended, 4096)
        for pid in list(running):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                caller = running.pop(pid)
                code = os.waitstatus_to_exitcode(status)
                with suppress(OSError):
                    caller.sendall(bytes([code if code >= 0 else 128 - code]))
                caller.close()


def main() -> None:
    """Import, then serve."""
    address, folder = sys.argv[1:]
    own = [Path(__file__).parent, *map(Path, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    common = [entry for entry in sys.path if Path(entry) not in own]
    import_module("expunge.models.network")  # open_clip, as the library imports it
    for name in SHARED:
        import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "expunge" and name != OPERATORS]:
        del sys.modules[name]  # a project may have other sources of it
    call = serve(address)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.executable = f"{folder}/python"
    name, words = call["name"], call["words"]
    paths = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = [*paths, *common]
    if name in ENTRIES:
        module, _, function = ENTRIES[name].partition(":")
        sys.argv = [f"{folder}/{name}", *words]
        sys.exit(getattr(import_module(module), function)())
    sys.path.insert(0, call["folder"])
    sys.argv = words[1:]
    runpy.run_module(words[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

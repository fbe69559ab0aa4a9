"""A ``python`` command that need not import torch anew: stages are forked from one process that has.

``python -m pipelines.stages...`` is sent to that process, which imported only packages from outside, so that
the code is still the project's own. Every other command line is given to the real interpreter. Signals are
not forwarded: tests that stop or kill a stage take the real interpreter.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = (
    "pandas", "cv2", "matplotlib.pyplot", "torch", "torchvision", "timm", "segmentation_models_pytorch",
    "lightning", "mlflow", "great_expectations",
)  # fmt: skip
STAGES = "pipelines.stages."

CLIENT = """#!{python} -IS
import json, os, socket, sys
if sys.argv[1:2] != ["-m"] or not sys.argv[2].startswith({stages!r}):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    order = json.dumps([os.getcwd(), dict(os.environ), sys.argv[2], sys.argv[3:]])
    socket.send_fds(server, [len(order).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(order.encode())
    status = server.recv(1)
sys.exit(status[0] if status else "the stage was killed")
"""


@contextmanager
def preloaded_python(folder: Path) -> Iterator[Path]:
    """Yield a folder for PATH with such a ``python``; its process ends with the context.

    Stages can be run at once: the first waits until the packages are imported.
    """
    address = str(folder / "socket")
    script = folder / "bin" / "python"
    script.parent.mkdir(parents=True)
    script.write_text(CLIENT.format(python=sys.executable, stages=STAGES, address=address), "utf-8")
    script.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        command = [sys.executable, "-m", "tests.integration.preloaded", str(listening.fileno())]
        root = Path(__file__).parents[2]
        process = subprocess.Popen(command, cwd=root, pass_fds=[listening.fileno()], stdin=subprocess.PIPE)
    try:
        yield script.parent
    finally:
        process.kill()
        process.wait()


def serve(listening: socket.socket) -> None:
    """Fork a child for each command line; its exit status is sent back as one byte."""
    for name in PACKAGES:
        importlib.import_module(name)
    parent = os.getppid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children need not be waited for
    listening.settimeout(5)
    while os.getppid() == parent:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        with connection:
            if os.fork() == 0:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                connection.setblocking(True)
                run(connection)


def run(connection: socket.socket) -> None:
    """Run one command line in this process, with the files, folder and environment of who asked for it."""
    size, files, *_ = socket.recv_fds(connection, 4, 3)
    with connection.makefile("rb") as stream:
        folder, environment, module, arguments = json.loads(stream.read(int.from_bytes(size, "big")))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("cadnet", "pipelines", "tests")]:
        del sys.modules[name]
    sys.argv, sys.path[:1] = [module, *arguments], [folder]
    status: object = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([status if isinstance(status, int) else 1]))
        os._exit(0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))

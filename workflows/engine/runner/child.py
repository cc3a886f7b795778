"""What one child does: read the request, put on the limits, do the one thing that was asked, end."""

import contextlib
import importlib
import json
import socket
import sys
import traceback
from pathlib import Path

import haystack

from workflows.engine.runner import catalog, execution, failures, loading, sandbox, validation
from workflows.engine.runner.failures import RunFailed
from workflows.engine.runner.loading import chain
from workflows.engine.runner.replies import Replies
from workflows.engine.runner.sandbox import Limits

OUT_OF_MEMORY = 77  # the exit code of a child that has not even the memory to say so
_SECONDS_TO_ASK = 30
_CHUNK = 64 * 1024
_LONGEST_REQUEST = 256 * 1024 * 1024
_LONGEST_TRACE = 8000


def answer(connection: socket.socket, scratch: Path, status: dict) -> int:
    """Serve the one request that comes on this connection; the exit code."""
    replies = Replies(connection)
    sandbox.ring_after(_SECONDS_TO_ASK)
    try:
        request = json.loads(read(connection))
        return _OPERATIONS[request["op"]](request, replies, scratch, status)
    except (BrokenPipeError, ConnectionResetError):
        return 0  # nobody is listening any more
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log(error, {})
        replies.send("error", code="bad_request", message=f"This request cannot be served: {failures.named(error)}")
        return 0
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()


def read(connection: socket.socket) -> bytes:
    """A request: one line of JSON. Read in pieces, never beyond the line's end: nothing follows it."""
    pieces, length = [], 0
    while not pieces or not pieces[-1].endswith(b"\n"):
        piece = connection.recv(_CHUNK)
        if not piece:
            raise ConnectionResetError
        pieces.append(piece)
        length += len(piece)
        if length > _LONGEST_REQUEST:
            raise ValueError("it is too long")
    return b"".join(pieces)


def _ping(request: dict, replies: Replies, scratch: Path, status: dict) -> int:
    replies.send("pong", haystack_version=haystack.__version__, **status)
    return 0


def _catalog(request: dict, replies: Replies, scratch: Path, status: dict) -> int:
    import_components(request)
    for _ in catalog.import_all():  # the server has done it, unless it has only just started
        pass
    sandbox.enter(Limits(seconds=120, memory_mb=2048), scratch)
    replies.send("catalog", catalog=catalog.catalog())
    return 0


def _check(request: dict, replies: Replies, scratch: Path, status: dict) -> int:
    import_components(request)
    sandbox.enter(limits(request), scratch)
    try:
        reply = validation.check(request)
    except MemoryError:
        reply = _check_failed("out_of_memory", "Loading this pipeline needs more memory than it may have.")
    except BaseException as error:  # components run code of their own when they are built
        if isinstance(error, (BrokenPipeError, ConnectionResetError)):
            raise
        log(error, request)
        refused = any(isinstance(link, sandbox.EgressRefused) for link in chain(error))
        reply = _check_failed("egress_refused" if refused else "check_failed", failures.named(error))
    replies.send(reply.pop("kind"), **reply)
    return 0


def _check_failed(code: str, message: str) -> dict:
    return {"kind": "problems", "problems": [{"code": code, "message": message, "path": "", "severity": "error"}]}


def _run(request: dict, replies: Replies, scratch: Path, status: dict) -> int:
    replies.blot_out((request.get("secrets") or {}).values())
    import_components(request)
    guard = sandbox.enter(limits(request), scratch)
    try:
        line = execution.run(execution.load(request, guard), request, replies, guard)
    except RunFailed as error:
        log(error, request)
        fields = error.fields
    else:
        replies.send_line(line)
        return 0
    try:
        replies.send("error", **fields)
    except MemoryError:
        return OUT_OF_MEMORY
    return 0


_OPERATIONS = {"ping": _ping, "catalog": _catalog, "check": _check, "run": _run}


def limits(request: dict, runs: int = 1) -> Limits:
    """What the request asks for; several `runs` that share a process are each watched by the server, for their time."""
    documents = request.get("documents_dir")
    return Limits(
        seconds=float(request["seconds"]) if runs == 1 else None,
        memory_mb=int(request["memory_mb"]),
        hosts=tuple(request.get("hosts") or ()),
        secrets=dict(request.get("secrets") or {}),
        documents_dir=Path(documents) if documents else None,
        runs=runs,
    )


def import_components(request: dict) -> None:
    """Import the operator's own components while the project's folder can still be listed."""
    for module in {name.rpartition(".")[0] for name in request.get("components") or ()}:
        if module not in sys.modules and module.partition(".")[0] not in loading.TRUSTED_ROOTS:
            with contextlib.suppress(ImportError):  # who names it in a pipeline is told then
                importlib.import_module(module)


def log(error: BaseException, request: dict) -> None:
    """The whole story, for the operator: the client only gets a sentence."""
    labels = " ".join(f"{name}={value}" for name, value in (request.get("labels") or {}).items())
    with contextlib.suppress(Exception):
        trace = "".join(traceback.format_exception(error))
        sys.stderr.write(f"{labels}\n{trace[-_LONGEST_TRACE:]}\n")

"""Several copies of the service behind one address, each on an accelerator of its own: Ray Serve.

    countermark serve --replicas 4
    serve run generator.serve_ray:build_replicas replicas=4 gpus_per_replica=1

Each replica is the whole application (`provenance.web.create_app`) in a process of its own: the
same routes, the same service object. What the replicas share is the registry. Jobs are rows
there, so that any replica may take a job, tell of it or cancel it, and none is done twice.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from provenance.errors import BackendUnavailableError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from provenance.config import Settings

__all__ = ["REPLICA_HEADER", "build_replicas", "count_accelerators", "run_replicas", "serving"]

log = logging.getLogger(__name__)

APPLICATION = "countermark"
OBJECT_STORE_BYTES = 100 * 2**20
"""Pictures do not travel through Ray's shared memory; this is about the least that it accepts."""
START_ATTEMPTS = 3
"""Ray gives its own processes 30 s to start, which a busy machine misses now and then."""
LOGS = "/tmp/ray/session_latest/logs"  # noqa: S108  Ray's own place, named for people
REPLICA_HEADER = "x-countermark-replica"
CONCURRENT_REQUESTS = 1024
"""A waiting client holds a request open; the queue of jobs is what is bounded."""


def build_replicas(args: Mapping[str, Any]) -> Any:
    """The Ray Serve application, for ``serve run`` and for clusters.

    Args:
        args: ``replicas`` (default 1) and ``gpus_per_replica`` (default 1 where there is a GPU,
            else 0). Settings are read where this runs and go to all replicas.

    Raises:
        ConfigError: An argument is no number, or too small.
        BackendUnavailableError: Ray is not installed.
    """
    from provenance.config import load_settings

    unknown = set(args) - {"replicas", "gpus_per_replica"}
    if unknown:
        raise ConfigError(f"{sorted(unknown)[0]} is unknown; known: gpus_per_replica, replicas")
    try:
        replicas = int(args.get("replicas", 1))
        gpus = float(args.get("gpus_per_replica", min(1, count_accelerators())))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"replicas and gpus_per_replica must be numbers: {error}") from error
    return _bind(load_settings(), replicas, gpus, prepare=lambda: None)


def run_replicas(settings: Settings, *, host: str, port: int, replicas: int) -> None:
    """Serves until interrupted.

    Args:
        settings: Of the deployment, for all replicas.
        host: Address to listen on.
        port: TCP port.
        replicas: How many; each gets one accelerator of this machine, or none has one.

    Raises:
        ConfigError: There are fewer accelerators than replicas, or the port is unusable.
        BackendUnavailableError: Ray is not installed, or the replicas did not start.
    """
    accelerators = count_accelerators()
    if 0 < accelerators < replicas:
        raise ConfigError(
            f"{replicas} replicas need as many accelerators, and this machine has {accelerators}; "
            f"give --replicas {accelerators}"
        )
    stopped = threading.Event()
    with serving(
        settings,
        host=host,
        port=port,
        replicas=replicas,
        gpus_per_replica=min(1, accelerators),
    ):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        log.warning("serving on http://%s:%s with %d replicas", host, port, replicas)
        stopped.wait()


@contextmanager
def serving(
    settings: Settings,
    *,
    host: str,
    port: int,
    replicas: int,
    gpus_per_replica: float = 0,
    num_cpus: int | None = None,
) -> Iterator[None]:
    """Replicas that answer while the block runs, in a Ray of this machine alone.

    Args:
        settings: Of the deployment, for all replicas.
        host: Address to listen on.
        port: TCP port.
        replicas: How many.
        gpus_per_replica: Accelerators of each; 0 renders on the processor.
        num_cpus: How many processors Ray may count with; None: those of the machine.

    Raises:
        ConfigError: A number is too small, or the port is taken.
        ProvenanceError: Keys or registry are unusable.
        BackendUnavailableError: Ray is not installed, or the replicas did not start.
    """
    _require_free(host, port)
    _prepare(settings)
    _keep_to_ourselves()
    application = _bind(settings, replicas, gpus_per_replica, prepare=_listen_here_only)
    ray, serve = _import_ray()
    with _ended(ray, serve):
        _start(ray, serve, host=host, port=port, num_cpus=num_cpus)
        _run(ray, serve, application)
        yield


def count_accelerators() -> int:
    """GPUs of this machine that Ray can hand out."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _prepare(settings: Settings) -> None:
    """Makes keys and registry once, before several processes would, and tries them."""
    from generator.wiring import build_generator

    build_generator(settings).self_test()


@contextmanager
def _ended(ray: Any, serve: Any) -> Iterator[None]:
    try:
        yield
    finally:
        # Replicas first: each gives its pictures their time, and its other jobs back to the queue.
        if ray.is_initialized():
            serve.shutdown()
        ray.shutdown()


def _start(ray: Any, serve: Any, *, host: str, port: int, num_cpus: int | None) -> None:
    try:
        _start_ray(ray, num_cpus)
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": host, "port": port},
            logging_config={"enable_access_log": False, "log_level": "WARNING"},
        )
    except Exception as error:  # a firewall: Ray raises whatever it likes, even `Exception`
        raise BackendUnavailableError(
            f"Ray did not start: {_last_line(error)}; see the logs in {LOGS}"
        ) from error


def _start_ray(ray: Any, num_cpus: int | None) -> None:
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
            return
        except Exception:
            ray.shutdown()  # what had started of it
            if attempt == START_ATTEMPTS:
                raise
            log.warning("Ray did not start in time; trying again")


def _run(ray: Any, serve: Any, application: Any) -> None:
    """Returns when all replicas answer."""
    try:
        serve.run(application, name=APPLICATION, route_prefix="/")
    except (ray.exceptions.RayError, RuntimeError, TimeoutError) as error:
        raise BackendUnavailableError(
            f"the replicas did not start: {_last_line(error)}; see the logs in {LOGS}/serve"
        ) from error


def _bind(
    settings: Settings, replicas: int, gpus_per_replica: float, *, prepare: Callable[[], None]
) -> Any:
    if replicas < 1:
        raise ConfigError(f"replicas {replicas} must be at least 1")
    if gpus_per_replica < 0:
        raise ConfigError(f"gpus_per_replica {gpus_per_replica} must not be below 0")
    _, serve = _import_ray()

    def build_app() -> FastAPI:
        """Runs in the replica: models, keys and threads are its own."""
        from provenance.serving.request_log import set_up_log
        from provenance.web import create_app

        prepare()
        set_up_log(settings.serve.log_format)
        app = create_app(settings)
        name = serve.get_replica_context().replica_id.unique_id
        app.add_middleware(NamedReplica, name=name)
        return app

    deployment = serve.deployment(
        serve.ingress(build_app)(),
        name=APPLICATION,
        num_replicas=replicas,
        max_ongoing_requests=CONCURRENT_REQUESTS,
        # Ray counts accelerators for us; processors are left to the system's own scheduler.
        ray_actor_options={"num_cpus": 0, "num_gpus": gpus_per_replica},
        graceful_shutdown_timeout_s=settings.serve.drain_s + 10,
    )
    return deployment.bind()


class NamedReplica:
    """Says in each answer which replica gave it, so that its log can be found."""

    def __init__(self, app: ASGIApp, name: str) -> None:
        self._app = app
        self._header = (REPLICA_HEADER.encode(), name.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Adds the header to HTTP answers."""

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), self._header]
            await send(message)

        await self._app(scope, receive, named if scope["type"] == "http" else send)


def _keep_to_ourselves() -> None:
    """Before Ray starts: it tells nobody that it runs, and listens to this machine alone."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # NOTE: on Linux, Ray turns 127.0.0.1 into the outer address unless it may form no cluster
    # (`ray._private.services.get_node_ip_address`), and then lets anybody run code there.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    constants = sys.modules.get("ray._private.ray_constants")
    if constants is not None:  # somebody has imported Ray, which has read the variable then
        constants.ENABLE_RAY_CLUSTER = False  # type: ignore[attr-defined]


def _listen_here_only() -> None:
    """In a replica, before it listens to the others.

    NOTE: Ray Serve binds the port for calls between replicas, which unpickles what it is sent, to
    all addresses of the machine, whatever its own address is (``_on_initialized`` in
    `ray.serve._private.replica`).
    """
    replica: Any = importlib.import_module("ray.serve._private.replica")
    add_port: Callable[[Any, str], int] = replica.add_port_to_grpc_server

    def add_local_port(server: Any, address: str) -> int:
        return add_port(server, address.replace("[::]", "127.0.0.1"))

    replica.add_port_to_grpc_server = add_local_port


def _import_ray() -> tuple[Any, Any]:
    try:
        import ray
        from ray import serve
    except ImportError as error:
        raise BackendUnavailableError(
            "replicas need Ray, which is not installed; "
            "install it with: pip install 'countermark[ray]'"
        ) from error
    return ray, serve


def _require_free(host: str, port: int) -> None:
    import socket

    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
        ) from error


def _last_line(error: Exception) -> str:
    """The cause at the end of Ray's report, which repeats a traceback for each replica."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__

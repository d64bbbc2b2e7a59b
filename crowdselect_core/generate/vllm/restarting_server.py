"""A vLLM server that stays between runs: started when first needed, again where it died."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic

from crowdselect_core.generate.base import EngineDown, never
from crowdselect_core.generate.vllm.host import Client, ClientOf
from crowdselect_core.generate.vllm.requeue import Asked, Told, Work, unless_empty
from crowdselect_core.generate.vllm.server import VllmServer, new_log

log = logging.getLogger("crowdselect")


class KeptServer(Generic[Asked, Told]):
    """The server of an engine or a scorer; `close` ends it, and so does a run that raises.

    What a dying server takes with it is asked again of the next one, so that everything that is
    asked is answered once.
    """

    def __init__(
        self,
        name: str,
        server: Callable[[Path], VllmServer],
        client: ClientOf[Asked, Told],
        *,
        log_folder: Path | None,
    ) -> None:
        """Keep how a server is made; none is started.

        Args:
            name: of the model, for the log's name.
            server: makes one that writes its log to a path.
            client: see `ClientOf`; called once for each server that is ready.
            log_folder: where its log goes; among the temporary files where empty.
        """
        self._name, self._make, self._client_of = name, server, client
        self._log_folder = log_folder
        self._stopped: Callable[[], bool] = never
        self._log: Path | None = None  # of all its starts
        self._server: VllmServer | None = None
        self._client: Client[Asked, Told] | None = None
        self._deaths = 0

    def run(
        self,
        items: Iterator[Asked],
        done: Callable[[Told], None],
        stopped: Callable[[], bool],
    ) -> None:
        """Have everything answered; without anything to ask no server is started.

        Raises:
            ConfigError: the server cannot be started.
            EngineDown: it died more often than it is started again.
            Stopped: `stopped` said so.
        """
        requests = unless_empty(items)
        if requests is None:
            return
        self._stopped = stopped
        work: Work[Asked, Told] = Work(requests, done)
        try:
            while not work.complete:
                server, client = self._started()
                work.ask(client, server.down)
                if not work.complete:
                    self._died(server, work.lost)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the server; a later `run` starts it again."""
        if self._server is not None:
            self._server.end()
        self._server = self._client = None

    def _started(self) -> tuple[VllmServer, Client[Asked, Told]]:
        """Return the server and its client; start it where there is none, or it died since."""
        if self._server is not None and self._server.down():
            self._died(self._server, 0)
        if self._server is None or self._client is None:
            if self._log is None:
                self._log = new_log(self._name, self._log_folder)
            self._server = self._make(self._log)
            log.info("%s: starting; its log is %s", self._server.subject, self._log)
            self._server.start()
            self._server.ready(again=self._deaths > 0, stopped=self._stopped)
            self._client = self._client_of(self._server, lambda: self._stopped())
        return self._server, self._client

    def _died(self, server: VllmServer, lost: int) -> None:
        """Clear a dead server away.

        Raises:
            EngineDown: it is not started again.
        """
        self.close()
        self._deaths += 1
        if self._deaths > server.restarts:
            raise EngineDown(
                f"{server.subject} died {self._deaths} times (restarts: {server.restarts}), at "
                f"last with exit code {server.exit_code}: {server.last_words()}"
            )
        log.warning(
            "%s died (exit code %s) with %d requests on their way; log: %s",
            server.subject, server.exit_code, lost, self._log,
        )  # fmt: skip

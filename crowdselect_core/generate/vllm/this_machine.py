"""vLLM servers on the machine of the run, one for each model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.generate.vllm.command import find_model, interpreter
from crowdselect_core.generate.vllm.host import ClientOf, Launch
from crowdselect_core.generate.vllm.requeue import Asked, Told
from crowdselect_core.generate.vllm.restarting_server import KeptServer
from crowdselect_core.generate.vllm.server import VllmServer


@dataclass(frozen=True)
class ThisMachine:
    """Runs servers here; see `Host`.

    Args:
        gpus: the GPUs that a server may see; all of the run's where empty.
        log_folder: where logs go; among the temporary files where empty.
    """

    gpus: Sequence[str] = ()
    log_folder: Path | None = None

    def servers(self, config: VllmEngineConfig) -> int:
        """Return 1: vLLM itself runs the replicas of a model."""
        return 1

    def check(self, subject: str, launch: Launch) -> None:
        """Check that vLLM and the model are here."""
        interpreter(subject, launch.config)
        find_model(subject, launch.model, launch.revision)

    def kept(
        self, name: str, launch: Callable[[], Launch], client: ClientOf[Asked, Told]
    ) -> KeptServer[Asked, Told]:
        """Return what keeps the server of a model."""

        def server(place: Path) -> VllmServer:
            return VllmServer(launch(), gpus=self.gpus, log=place)

        return KeptServer(name, server, client, log_folder=self.log_folder)

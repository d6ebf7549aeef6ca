"""A Dask cluster as an engine. Loaded only where one is named: its library is an extra."""

from __future__ import annotations

import asyncio
from typing import Final

from distributed import Client, KilledWorker
from distributed.comm import CommClosedError

from node.work.engine import PROCESSES_MAX, TRIES, EngineError
from node.work.task import Done, Task, run_task

CONNECT_SECONDS: Final = 6


def connect(where: str) -> Client:
    """Raises OSError, TimeoutError or ValueError."""
    return Client(f"tcp://{where}", timeout=CONNECT_SECONDS, set_as_default=False)


class DaskEngine:
    """A Dask cluster, by its executor. It computes again by itself what was lost with a worker."""

    def __init__(self, where: str, client: Client) -> None:
        self.name: Final = f"dask {where}"
        self.places: Final = min(sum(client.nthreads().values()), PROCESSES_MAX)
        self._client: Final = client
        self._executor: Final = client.get_executor(pure=False, retries=TRIES)

    async def run(self, task: Task) -> Done:
        try:
            done: Done = await asyncio.wrap_future(self._executor.submit(run_task, task))
        except ImportError as error:
            raise EngineError(
                "the Dask workers lack this software",
                value=error,
                remedy='install the same "omnitensor[node]" there',
            ) from error
        except (KilledWorker, CommClosedError, TimeoutError) as error:
            raise EngineError(
                "the Dask cluster lost a unit", value=error, remedy="see the scheduler's log"
            ) from error
        return done

    def close(self) -> None:
        self._executor.shutdown(wait=False)
        self._client.close()

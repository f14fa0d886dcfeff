"""Faults: what goes wrong around the services in a soak, one after the other."""

import random
import time
from collections import Counter
from collections.abc import Callable

from tests.e2e.real_node.agent_stack import AgentStack
from tests.soak.bad_network import BadNetwork
from tests.soak.credentials import Rotation

STALL_S = (1.0, 8.0)
SLOW_S = (0.05, 0.3)


class Faults:
    """Draws a fault, and puts right again what lasts."""

    def __init__(self, stack: AgentStack, network: BadNetwork, rotation: Rotation, chance: random.Random) -> None:
        self._stack = stack
        self._network = network
        self._rotation = rotation
        self._chance = chance
        self._right_again_at = 0.0
        self.struck: Counter[str] = Counter()

    def act(self) -> None:
        """One fault."""
        faults: tuple[Callable[[], None], ...] = (
            self._kill_the_extender,
            self._kill_the_agent,
            self._kill_the_kubelet,
            self._restart_the_api_server,
            self._network.cut,
            self._stall,
            self._slow,
            self._rotation.rotate,
        )
        fault = self._chance.choice(faults)
        self.struck[fault.__name__.strip("_")] += 1
        fault()

    def settle(self) -> None:
        """Put the network right once its time is over."""
        if self._right_again_at and time.monotonic() > self._right_again_at:
            self.end()

    def end(self) -> None:
        """Put the network right."""
        self._right_again_at = 0.0
        self._network.resume()

    def _kill_the_extender(self) -> None:
        self.end()  # its start waits for the API server
        self._stack.extender.kill()
        self._stack.extender.start()

    def _kill_the_agent(self) -> None:
        self._stack.agent.kill()
        self._stack.agent.start()

    def _kill_the_kubelet(self) -> None:
        self._stack.node.kill_kubelet()
        self._stack.node.restart_kubelet()

    def _restart_the_api_server(self) -> None:
        self._stack.cluster.kill_apiserver()
        self._stack.cluster.restart_apiserver()

    def _stall(self) -> None:
        self._network.stall()
        self._right_again_at = time.monotonic() + self._chance.uniform(*STALL_S)

    def _slow(self) -> None:
        self._network.slow(self._chance.uniform(*SLOW_S))
        self._right_again_at = time.monotonic() + self._chance.uniform(*STALL_S)

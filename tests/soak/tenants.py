"""Tenants: the honest ones, whose pods come and go, and the hostile ones, whose objects try to do harm."""

import json
import random
import ssl
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any

from allocator.claims import contract
from testbed import errors
from tests.e2e.real_node.agent_stack import AgentStack, container, is_over, is_running, pod_of

LIVE = 10  # honest pods at once
PROFILES = (("1g.5gb",), ("1g.5gb",), ("2g.10gb",), ("3g.20gb",), ("1g.5gb", "2g.10gb"), ("7g.40gb",))
LIFE_S = (1.0, 15.0)
DEEP = 9_000
HONEST, HOSTILE = "honest-", "hostile-"

Document = dict[str, Any]


class HonestTenant:
    """Keeps so many pods going; each lives for some seconds, or is deleted before."""

    def __init__(self, stack: AgentStack, chance: random.Random) -> None:
        self._stack = stack
        self._chance = chance
        self.outcomes: Counter[str] = Counter()
        self.created = 0

    def act(self, pods: list[Document]) -> None:
        """Clean up what is over, sometimes delete one that runs, and fill up."""
        mine = [pod for pod in pods if pod["metadata"]["name"].startswith(HONEST)]
        over = [pod for pod in mine if is_over(pod)]
        self.outcomes.update(pod["status"].get("reason") or pod["status"]["phase"] for pod in over)
        running = [pod for pod in mine if is_running(pod) and "deletionTimestamp" not in pod["metadata"]]
        unlucky = [self._chance.choice(running)] if running and self._chance.random() < 0.1 else []
        self._stack.delete(*(pod["metadata"]["name"] for pod in (*over, *unlucky)))
        self.outcomes.update("deleted" for _ in unlucky)
        self._stack.create(*(self._pod() for _ in range(LIVE - len(mine))))

    def _pod(self) -> Document:
        self.created += 1
        profiles, seconds = self._chance.choice(PROFILES), self._chance.uniform(*LIFE_S)
        init = [container("warm", ["1g.5gb"], 0.2)] if self._chance.random() < 0.1 else []
        return pod_of(self._stack, f"{HONEST}{self.created}", container("main", profiles, seconds), init=init)


class HostileTenant:
    """Makes what a tenant may make, with rights in one namespace, and takes it away again."""

    def __init__(self, stack: AgentStack, chance: random.Random) -> None:
        self._stack = stack
        self._chance = chance
        self._trust = ssl.create_default_context(cafile=stack.cluster.directory / "certificates" / "ca.crt")
        self.acts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.edited: set[str] = set()
        self._doing = ""

    def act(self, pods: list[Document]) -> None:
        """One act, drawn; what the last one left is removed first."""
        left = [pod["metadata"]["name"] for pod in pods if pod["metadata"]["name"].startswith(HOSTILE)]
        self._stack.delete(*left)
        acts: tuple[Callable[[list[Document]], None], ...] = (
            self._nest_deeply,
            self._label_much,
            self._ask_for_nothing_often,
            self._ask_for_the_impossible,
            self._wear_a_label,
            self._edit_a_placement,
            self._take_a_slice_for_a_moment,
        )
        act = self._chance.choice(acts)
        self._doing = act.__name__.strip("_")
        self.acts[self._doing] += 1
        try:
            act(pods)
        except (OSError, errors.CommandError) as error:  # the API server may refuse, or be away
            self.refused[type(error).__name__] += 1

    def _nest_deeply(self, _pods: list[Document]) -> None:
        document = self._pod("main", {})
        document["spec"]["schedulingGates"] = [{"name": "example.com/never"}]  # a kubelet is not what is tried here
        document["metadata"]["managedFields"] = "HERE"
        fields = '{"f:a":' * DEEP + "{}" + "}" * DEEP
        entry = f'{{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{fields}}}'
        self._post(json.dumps(document).replace('"HERE"', f"[{entry}]"))

    def _label_much(self, _pods: list[Document]) -> None:
        document = self._pod("main", {"nvidia.com/mig-1g.5gb": "1"})
        document["metadata"]["labels"] = {f"label-{number}": "x" for number in range(20_000)}
        self._post(json.dumps(document))

    def _ask_for_nothing_often(self, _pods: list[Document]) -> None:
        document = self._pod("main", {f"nvidia.com/mig-{number}g.5gb": "0" for number in range(10_000)})
        document["spec"]["schedulingGates"] = [{"name": "example.com/never"}]  # nor here
        self._post(json.dumps(document))

    def _ask_for_the_impossible(self, _pods: list[Document]) -> None:
        self._post(json.dumps(self._pod("main", {"nvidia.com/mig-7g.40gb": "99", "nvidia.com/mig-9g.99gb": "1"})))

    def _wear_a_label(self, _pods: list[Document]) -> None:
        document = self._pod("main", {})
        document["metadata"]["labels"] = {"app": "nvidia-device-plugin-daemonset"}
        document["spec"]["nodeName"] = self._stack.node.name
        self._post(json.dumps(document))

    def _edit_a_placement(self, pods: list[Document]) -> None:
        promised = [pod for pod in pods if contract.PLACEMENT_ANNOTATION in pod["metadata"].get("annotations", {})]
        if promised:
            name = self._chance.choice(promised)["metadata"]["name"]
            self.edited.add(name)
            text = self._chance.choice(("", "{}", "x" * 30_000, '{"v":1}'))
            self._stack.cluster.kubectl(
                "annotate", "pod", name, "--overwrite", f"{contract.PLACEMENT_ANNOTATION}={text}"
            )

    def _take_a_slice_for_a_moment(self, _pods: list[Document]) -> None:
        name = self._name()
        taking = container("init", ["1g.5gb"], 1)
        self._stack.create(pod_of(self._stack, name, container("main", [], 3600), init=[taking]))

    def _name(self) -> str:
        return f"{HOSTILE}{self.acts.total()}-{self._doing.replace('_', '-')}"

    def _pod(self, name: str, limits: dict[str, str]) -> Document:
        document = pod_of(self._stack, self._name(), container(name, []))
        document["spec"]["containers"][0]["resources"]["limits"] = limits
        return document

    def _post(self, text: str) -> None:
        cluster = self._stack.cluster
        request = urllib.request.Request(
            f"{cluster.url}/api/v1/namespaces/default/pods",
            data=text.encode(),
            headers={"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30, context=self._trust) as answer:
            answer.read()

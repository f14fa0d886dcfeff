"""Reviews of tokens and rights: the one in memory and a genuine API server say the same."""

import json
import ssl
import uuid
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec
import pytest

from allocator import errors
from kubeclient.kube import Connection
from kubeclient.reviews import ApiServerReviews, Reviews, User
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.memory_cluster.reviews import API_SERVER, MemoryReviews
from testbed.control_plane.control_plane import ControlPlane

PATH = "/migsched/api/v1/nodes"
NAMESPACE = "default"


class Reviewed(Protocol):
    """A cluster whose accounts and rights a test makes."""

    @property
    def reviews(self) -> Reviews:
        """Whom the service asks."""

    async def token(self, account: str, audience: str = "") -> str:
        """A token of a service account, which is made if need be."""

    async def delete(self, account: str) -> None:
        """Delete the account."""

    async def grant(self, account: str, verb: str, path: str) -> None:
        """Give an account a right."""

    async def grant_on(self, account: str, verb: str, group: str, resource: str) -> None:
        """Give an account a right on a resource."""

    async def break_off(self) -> None:
        """Let no call come through any more."""


class InMemory:
    """The cluster in memory."""

    def __init__(self) -> None:
        self.reviews = MemoryReviews()
        self._tokens: dict[str, list[str]] = {}

    async def token(self, account: str, audience: str = "") -> str:
        """See Reviewed."""
        token = uuid.uuid4().hex
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated")
        self.reviews.give_token(token, User(name_of(account), "", groups), audience or API_SERVER)
        self._tokens.setdefault(account, []).append(token)
        return token

    async def delete(self, account: str) -> None:
        """See Reviewed."""
        for token in self._tokens.pop(account):
            self.reviews.take_token(token)

    async def grant(self, account: str, verb: str, path: str) -> None:
        """See Reviewed."""
        self.reviews.grant(name_of(account), verb, path)

    async def grant_on(self, account: str, verb: str, group: str, resource: str) -> None:
        """See Reviewed."""
        self.reviews.grant_on(name_of(account), verb, group, resource)

    async def break_off(self) -> None:
        """See Reviewed."""
        self.reviews.faults.add(Fault("create", error=errors.UnreachableError("gone"), times=None))


class Genuine:
    """A genuine API server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.reviews: Reviews = ApiServerReviews(connection)
        self._accounts: set[str] = set()

    async def token(self, account: str, audience: str = "") -> str:
        """See Reviewed."""
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
        if account not in self._accounts:
            self._accounts.add(account)
            await self._post(path, {"metadata": {"name": account}})
        spec = {"audiences": [audience]} if audience else {}
        answer = await self._post(f"{path}/{account}/token", {"spec": spec})
        return str(answer["status"]["token"])

    async def delete(self, account: str) -> None:
        """See Reviewed."""
        await self._connection.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}")

    async def grant(self, account: str, verb: str, path: str) -> None:
        """See Reviewed."""
        await self._bind(account, {"nonResourceURLs": [path], "verbs": [verb]})

    async def grant_on(self, account: str, verb: str, group: str, resource: str) -> None:
        """See Reviewed."""
        await self._bind(account, {"apiGroups": [group], "resources": [resource], "verbs": [verb]})

    async def _bind(self, account: str, rule: dict[str, list[str]]) -> None:
        name = f"{account}-{uuid.uuid4().hex[:8]}"
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        rules = [rule]
        await self._post(f"{rbac}/clusterroles", {"metadata": {"name": name}, "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        subjects = [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]
        bound: dict[str, object] = {"metadata": {"name": name}, "roleRef": role, "subjects": subjects}
        await self._post(f"{rbac}/clusterrolebindings", bound)

    async def break_off(self) -> None:
        """See Reviewed."""
        await self._connection.close()
        self.reviews = ApiServerReviews(await Connection.to(NoServer()))

    async def _post(self, path: str, document: dict[str, object]) -> dict[str, dict[str, str]]:
        answer = await self._connection.request("POST", path, body=msgspec.json.encode(document))
        made: dict[str, dict[str, str]] = json.loads(answer)
        return made


class NoServer:
    """An access to a port where nobody listens."""

    host = "http://127.0.0.1:1"
    server_name = ""

    def ssl_context(self) -> ssl.SSLContext:
        """Not asked for."""
        return ssl.create_default_context()

    async def headers(self) -> dict[str, str]:
        """None."""
        return {}

    def refused(self) -> None:
        """Nothing to renew."""

    async def close(self) -> None:
        """Nothing is open."""


def name_of(account: str) -> str:
    """The user that a service account is."""
    return f"system:serviceaccount:{NAMESPACE}:{account}"


@pytest.fixture(params=["memory", pytest.param("genuine", marks=pytest.mark.e2e)])
async def reviewed(request: pytest.FixtureRequest) -> AsyncIterator[Reviewed]:
    """Both clusters, one after the other."""
    if request.param == "memory":
        yield InMemory()
        return
    control_plane: ControlPlane = request.getfixturevalue("genuine")
    connection = await Connection.connect(control_plane.kubeconfig)
    genuine = Genuine(connection)
    yield genuine
    await genuine.reviews.close()
    await connection.close()


@pytest.fixture
def account() -> str:
    """A name of this test's own."""
    return f"asks-{uuid.uuid4().hex[:8]}"


async def test_a_token_says_whose_it_is(reviewed: Reviewed, account: str) -> None:
    """A good token has its account's name and groups; after the account's end, and if it is none, it has nobody."""
    token = await reviewed.token(account)
    later = await reviewed.token(account)  # kube-apiserver goes by what it has said of a token for ten seconds
    user = await reviewed.reviews.user_of(token)
    assert user is not None
    assert user.username == name_of(account)
    assert {"system:authenticated", f"system:serviceaccounts:{NAMESPACE}"} <= set(user.groups or ())
    assert await reviewed.reviews.user_of("x" * 40) is None
    assert await reviewed.reviews.user_of(f"{token[:-4]}aaaa") is None
    await reviewed.delete(account)
    assert await reviewed.reviews.user_of(later) is None


async def test_a_token_is_for_its_audience(reviewed: Reviewed, account: str) -> None:
    """A token made for an audience is good for it alone, and the API server's own is not good for it."""
    general, special = await reviewed.token(account), await reviewed.token(account, "migsched")
    assert await reviewed.reviews.user_of(special, ["migsched"]) is not None
    assert await reviewed.reviews.user_of(special, ["other", "migsched"]) is not None
    assert await reviewed.reviews.user_of(special) is None
    assert await reviewed.reviews.user_of(general, ["migsched"]) is None


async def test_a_right_is_a_verb_on_a_path(reviewed: Reviewed, account: str) -> None:
    """A user may what a role names: this verb, this path or those below it; nobody else may."""
    user = await reviewed.reviews.user_of(await reviewed.token(account))
    assert user is not None
    assert not await reviewed.reviews.may(user, "get", PATH)
    await reviewed.grant(account, "get", "/migsched/api/*")
    assert await eventually_may(reviewed, user)
    assert not await reviewed.reviews.may(user, "post", PATH)
    assert not await reviewed.reviews.may(user, "get", "/migsched/metrics")
    assert not await reviewed.reviews.may(User("somebody-else"), "get", PATH)


async def test_a_right_on_a_resource_is_of_its_verb_and_group(reviewed: Reviewed, account: str) -> None:
    """A user may what a role names on a resource of its group: no other verb, no other resource, nobody else."""
    user = await reviewed.reviews.user_of(await reviewed.token(account))
    assert user is not None
    asked = ("migsched.io", "repacks")
    assert not await reviewed.reviews.may_on(user, "create", *asked)
    await reviewed.grant_on(account, "create", *asked)
    for _ in range(200):  # the API server's own cache of roles is late
        if await reviewed.reviews.may_on(user, "create", *asked):
            break
    assert await reviewed.reviews.may_on(user, "create", *asked)
    assert not await reviewed.reviews.may_on(user, "patch", *asked)
    assert not await reviewed.reviews.may_on(user, "create", "migsched.io", "mignodes")
    assert not await reviewed.reviews.may_on(User("somebody-else"), "create", *asked)


async def eventually_may(reviewed: Reviewed, user: User) -> bool:
    """Whether the right is there, once the API server's own cache of roles has it."""
    for _ in range(200):
        if await reviewed.reviews.may(user, "get", PATH):
            return True
    return False


async def test_an_api_server_that_is_away_says_nothing(reviewed: Reviewed, account: str) -> None:
    """It is an error, and neither yes nor no."""
    token = await reviewed.token(account)
    await reviewed.break_off()
    with pytest.raises(errors.UnreachableError):
        await reviewed.reviews.user_of(token)
    with pytest.raises(errors.UnreachableError):
        await reviewed.reviews.may(User("a"), "get", PATH)
    with pytest.raises(errors.UnreachableError):
        await reviewed.reviews.may_on(User("a"), "create", "migsched.io", "repacks")

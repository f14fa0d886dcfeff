"""The option that locks the API: its parts fit each other, the settings, and the service's own words."""

from typing import Any

import yaml

from scheduler import settings
from scheduler.lock import lock, routes
from tests.unit.deploy import manifests

OPTION = manifests.DEPLOY / "options" / "api-lock"
COMPONENT = manifests.one(OPTION / "kustomization.yaml", "Component")
DEPLOYMENT = manifests.one(manifests.DEPLOY / "kustomize" / "deployment.yaml", "Deployment")
SERVICE = manifests.one(manifests.DEPLOY / "kustomize" / "service.yaml", "Service")
(EXTENDER,) = DEPLOYMENT["spec"]["template"]["spec"]["initContainers"]
CONTAINER = "/spec/template/spec/initContainers/0"


def steps(kind: str) -> list[dict[str, Any]]:
    """The option's JSON patch of an object."""
    (patch,) = (patch["patch"] for patch in COMPONENT["patches"] if patch["target"]["kind"] == kind)
    found: list[dict[str, Any]] = yaml.safe_load(patch)
    return found


def added(path: str) -> list[Any]:
    """What the option adds to a list of the Deployment."""
    return [step["value"] for step in steps("Deployment") if (step["op"], step["path"]) == ("add", f"{path}/-")]


def test_the_lock_may_ask_for_reviews_and_nothing_else() -> None:
    """The account gets the two rights of system:auth-delegator, and the account is the scheduler's."""
    role = manifests.one(OPTION / "rbac.yaml", "ClusterRole", "migsched-api-lock")
    assert role["rules"] == [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ]
    binding = manifests.one(OPTION / "rbac.yaml", "ClusterRoleBinding", "migsched-api-lock")
    account = manifests.one(manifests.DEPLOY / "rbac" / "scheduler" / "service-account.yaml", "ServiceAccount")
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["metadata"]["name"], account["metadata"]["namespace"])


def test_the_roles_are_those_that_refusals_name() -> None:
    """A reader reads, an operator sends and makes Repacks, a scraper has the metrics; no path is outside of ours."""
    roles = {role["metadata"]["name"]: role["rules"] for role in manifests.documents(OPTION / "roles.yaml")}
    everything = [f"{routes.PREFIX}/*"]
    asked = [right for rights in routes.MAY.values() for right in rights if isinstance(right, routes.ResourceRight)]
    verbs = ["get", "list", "watch", *(right.verb for right in asked)]
    repacks = {"apiGroups": [asked[0].group], "resources": [asked[0].resource], "verbs": verbs}
    assert roles == {
        lock.READER: [{"nonResourceURLs": everything, "verbs": ["get"]}],
        lock.OPERATOR: [{"nonResourceURLs": everything, "verbs": ["get", "post"]}, repacks],
        "migsched-metrics": [{"nonResourceURLs": [f"{routes.PREFIX}/metrics"], "verbs": ["get"]}],
    }


def test_the_option_sets_what_the_settings_want() -> None:
    """What the base and the option say in variables is taken by the settings, on the address that they bind."""
    base = {variable["name"]: variable["value"] for variable in EXTENDER["env"]}
    assert EXTENDER["env"][0]["name"] == "MIGSCHED_API_ACCESS", "the option replaces the first"
    changed = {variable["name"]: variable["value"] for variable in added(f"{CONTAINER}/env")}
    (access,) = (step["value"] for step in steps("Deployment") if step["path"] == f"{CONTAINER}/env/0/value")
    for variables, tokens in ((base, False), ({**base, **changed, "MIGSCHED_API_ACCESS": access}, True)):
        given = {name.removeprefix("MIGSCHED_").lower(): value for name, value in variables.items()}
        terms = settings.load(**given).lock_terms()
        assert (terms.tokens, bool(terms.certificate)) == (tokens, tokens)


def test_the_certificate_is_mounted_where_the_variables_say() -> None:
    """One Secret, made by the Service's annotation on OpenShift, is the volume that is mounted below both files."""
    (mount,) = added(f"{CONTAINER}/volumeMounts")
    (volume,) = added("/spec/template/spec/volumes")
    assert mount["name"] == volume["name"]
    assert mount["readOnly"] is True
    files = [variable["value"] for variable in added(f"{CONTAINER}/env")]
    assert files == [f"{mount['mountPath']}/tls.crt", f"{mount['mountPath']}/tls.key"]
    (annotations,) = (step["value"] for step in steps("Service") if step["path"] == "/metadata/annotations")
    assert set(annotations.values()) == {volume["secret"]["secretName"]}
    assert "annotations" not in SERVICE["metadata"], "the option would take them away"


def test_probes_speak_tls_with_it() -> None:
    """The kubelet asks over HTTPS once the port speaks it; it checks no certificate."""
    patched = {step["path"]: step["value"] for step in steps("Deployment") if step["path"].endswith("/scheme")}
    probes = [name for name in EXTENDER if name.endswith("Probe")]
    assert patched == {f"{CONTAINER}/{probe}/httpGet/scheme": "HTTPS" for probe in probes}
    assert len(probes) == 3


def test_who_may_connect_is_bounded_without_the_option_too() -> None:
    """The NetworkPolicy is part of the base: the lock is added to it, and does not take its place."""
    base = manifests.one(manifests.DEPLOY / "kustomize" / "kustomization.yaml", "Kustomization")
    assert "network-policy.yaml" in base["resources"]
    assert {patch["target"]["kind"] for patch in COMPONENT["patches"]} == {"Service", "Deployment"}

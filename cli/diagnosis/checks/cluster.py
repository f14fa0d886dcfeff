"""Checks of the cluster around us: its version, our CRD, quotas and limits, objects that cannot be read."""

from collections.abc import Iterator

from allocator.eligibility import quantity
from allocator.mig.profile import is_mig_resource
from cli.diagnosis.finding import Check, Level, Seen, Severity
from cli.diagnosis.picture import ClusterPicture, looks
from cli.diagnosis.text import command

PAGE = "doctor.md"
OLDEST, NEWEST = (1, 31), (1, 37)  # docs/deploy.md; the newest that the tests run
_GPU = "nvidia.com/"
_REQUESTS = "requests."


def old_version(picture: ClusterPicture) -> Iterator[Seen]:
    """A version of Kubernetes that migsched was not made for."""
    for version in picture.version:
        number = _number(version.major, version.minor)
        if number is not None and number < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            value = f"{version.git_version}, and {wanted} is the oldest that is supported"
            yield Seen("apiserver/version", "gitVersion", value, command("kubectl", "version"))


def new_version(picture: ClusterPicture) -> Iterator[Seen]:
    """A version of Kubernetes that is newer than the newest one that was tried."""
    for version in picture.version:
        number = _number(version.major, version.minor)
        if number is not None and number > NEWEST:
            value = f"{version.git_version}, and {'.'.join(map(str, NEWEST))} is the newest that was tried"
            yield Seen("apiserver/version", "gitVersion", value, command("kubectl", "version"))


def _number(major: str, minor: str) -> tuple[int, int] | None:
    """Both numbers; the minor one may end in `+`."""
    digits = minor.rstrip("+")
    if not (major.isascii() and major.isdigit() and digits.isascii() and digits.isdigit() and len(digits) < 5):
        return None
    return int(major[:5]), int(digits)


def old_crd(picture: ClusterPicture) -> Iterator[Seen]:
    """A MigNode CRD that drops what agents write, or does not serve our version."""
    fix = command("kubectl", "apply", "--server-side", "--kustomize", "deploy/crd")
    if not tuple(picture.crd):
        yield Seen("crd/mignodes.migsched.io", "metadata.name", "does not exist", fix)
    for crd in picture.crd:
        if not crd.served:
            yield Seen(f"crd/{crd.name}", "spec.versions[v1alpha1].served", "false", fix)
        elif crd.lacking:
            value = f"without {', '.join(crd.lacking[:3])} and {len(crd.lacking)} fields in all"
            yield Seen(f"crd/{crd.name}", "spec.versions[v1alpha1].schema", value, fix)


def spent_quota(picture: ClusterPicture) -> Iterator[Seen]:
    """A quota of slices that is used up: pods beyond it are refused when they are created."""
    for quota in picture.quotas:
        hard, used = quota.status.hard or {}, quota.status.used or {}
        for name, most in hard.items():
            if is_mig_resource(name.removeprefix(_REQUESTS)) and _is_spent(most, used.get(name, 0)):
                meta = quota.metadata
                fix = command("kubectl", "--namespace", meta.namespace, "edit", "resourcequota", meta.name)
                value = f"{used.get(name, 0)} of {most}"
                yield Seen(f"resourcequota/{meta.namespace}/{meta.name}", f"status.used[{name}]", value, fix)


def _is_spent(hard: str | int, used: str | int) -> bool:
    allowed, taken = quantity.parse(hard), quantity.parse(used)
    return allowed is not None and taken is not None and taken >= allowed


def changing_limits(picture: ClusterPicture) -> Iterator[Seen]:
    """A LimitRange that gives GPUs to containers that ask for none, or limits to our own containers."""
    ours = (picture.scheduler_namespace, picture.agent_namespace)
    for limits in picture.limit_ranges:
        meta = limits.metadata
        for limit in limits.spec.limits or ():
            given = {**(limit.default_request or {}), **(limit.default or {})}
            names = [name for name in given if name.startswith(_GPU) or meta.namespace in ours]
            if names:
                fix = command("kubectl", "--namespace", meta.namespace, "edit", "limitrange", meta.name)
                field = f"spec.limits[{limit.type}].default"
                value = ", ".join(f"{name}={given[name]}" for name in names[:3])
                yield Seen(f"limitrange/{meta.namespace}/{meta.name}", field, value, fix)


def unreadable(picture: ClusterPicture) -> Iterator[Seen]:
    """An object that cannot be read, of any kind that was."""
    for kind, look in looks(picture).items():
        for left_out in look.unreadable:
            resource = {"reports": "mignodes", "services": "deployments"}.get(kind, kind.replace("_", ""))
            where = ("--namespace", left_out.namespace) if left_out.namespace else ()
            fix = command("kubectl", *where, "get", resource, left_out.name, "--output=json")
            yield Seen(f"{resource}/{left_out.title}", "", left_out.reason, fix)


_WARNING = (Level.CLUSTER, Severity.WARNING)
CHECKS = (
    Check(
        "kubernetes-too-old",
        Level.CLUSTER,
        Severity.ERROR,
        "This version of Kubernetes is not supported",
        "deploy.md#install",
        ("version",),
        old_version,
    ),
    Check(
        "kubernetes-untried",
        Level.CLUSTER,
        Severity.NOTE,
        "migsched was not tried on this version of Kubernetes",
        "deploy.md#what-has-been-verified",
        ("version",),
        new_version,
    ),
    Check(
        "crd-outdated",
        Level.CLUSTER,
        Severity.ERROR,
        "The MigNode CRD is missing or older than this version",
        "deploy.md#update-and-remove",
        ("crd",),
        old_crd,
    ),
    Check(
        "quota-spent", *_WARNING, "A quota of slices is used up", f"{PAGE}#what-is-looked-for", ("quotas",), spent_quota
    ),
    Check(
        "limit-range-changes-pods",
        *_WARNING,
        "A LimitRange changes pods that have to do with GPUs",
        f"{PAGE}#what-is-looked-for",
        ("limit_ranges",),
        changing_limits,
    ),
    Check(
        "object-unreadable",
        *_WARNING,
        "An object cannot be read and is left out",
        "runbook.md#an-object-is-left-out",
        (),
        unreadable,
    ),
)

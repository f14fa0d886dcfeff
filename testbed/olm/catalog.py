"""The file-based catalogue: the package, its channel, and the bundle with what OLM wants to know of it."""

from typing import Any

from testbed.olm import bundle, documents
from testbed.olm.sources import OlmSources
from testbed.olm.split import Split

# What a catalogue repeats of the ClusterServiceVersion, so that OperatorHub can show it without the bundle's image.
_SHOWN = (
    "description",
    "displayName",
    "installModes",
    "keywords",
    "links",
    "maintainers",
    "maturity",
    "minKubeVersion",
    "provider",
)
_CONTAINERFILE = """\
# The catalogue's image: opm and the files. Written by `make bundle`. Take the opm of your OpenShift's version:
#     buildah bud --build-arg OPM=registry.redhat.io/openshift4/ose-operator-registry-rhel9:v4.20 deploy/olm/catalog
ARG OPM
FROM ${OPM}
COPY migsched /configs/migsched
RUN ["/bin/opm", "serve", "/configs", "--cache-dir=/tmp/cache", "--cache-only"]
ENTRYPOINT ["/bin/opm"]
CMD ["serve", "/configs", "--cache-dir=/tmp/cache"]
LABEL operators.operatorframework.io.index.configs.v1=/configs
"""


def files(sources: OlmSources, parts: Split) -> dict[str, str]:
    """Text by path below catalog/."""
    return {
        f"{sources.package}/catalog.yaml": documents.dump(*entries(sources, parts)),
        "Containerfile": _CONTAINERFILE,
    }


def entries(sources: OlmSources, parts: Split) -> list[dict[str, Any]]:
    """The documents olm.package, olm.channel and olm.bundle."""
    channel = sources.about["channel"]
    return [
        {
            "schema": "olm.package",
            "name": sources.package,
            "defaultChannel": channel,
            "description": sources.about["annotations"]["description"],
            "icon": {"base64data": sources.icon, "mediatype": "image/svg+xml"},
        },
        {
            "schema": "olm.channel",
            "package": sources.package,
            "name": channel,
            "entries": [{"name": sources.csv_name, "skipRange": f"<{sources.version}"}],
        },
        {
            "schema": "olm.bundle",
            "package": sources.package,
            "name": sources.csv_name,
            "image": sources.images.bundle,
            "properties": [*_properties(sources, parts)],
            "relatedImages": [{"name": "", "image": sources.images.bundle}, *bundle.related_images(sources)],
        },
    ]


def _properties(sources: OlmSources, parts: Split) -> list[dict[str, Any]]:
    version = bundle.service_version(sources, parts)
    owned = version["spec"]["customresourcedefinitions"]
    kinds = [
        {"group": one["name"].partition(".")[2], "kind": one["kind"], "version": one["version"]}
        for one in owned["owned"]
    ]
    shown = {field: version["spec"][field] for field in _SHOWN}
    return [
        *({"type": "olm.gvk", "value": kind} for kind in kinds),
        {"type": "olm.package", "value": {"packageName": sources.package, "version": sources.version}},
        {
            "type": "olm.csv.metadata",
            "value": {
                "annotations": version["metadata"]["annotations"],
                "crdDescriptions": owned,
                "labels": version["metadata"]["labels"],
                **shown,
            },
        },
    ]

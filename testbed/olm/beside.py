"""What an administrator applies beside the operator: the objects that a bundle cannot have, as a kustomization."""

from testbed.olm import documents
from testbed.olm.sources import OlmSources
from testbed.olm.split import Split

_HEAD = "# Written by `make bundle`: what OLM cannot install (docs/operatorhub.md).\n"
_KUSTOMIZATION = """\
# Written by `make bundle`: what OLM cannot install, to be applied beside it (docs/operatorhub.md):
#     oc apply --server-side -k deploy/olm/beside
"""


def files(sources: OlmSources, parts: Split) -> dict[str, str]:
    """Text by path below beside/."""
    name, _, digest = sources.images.agent.partition("@")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["objects.yaml"],
        "images": [{"name": "migsched-agent", "newName": name, "digest": digest}],
    }
    return {
        "kustomization.yaml": _KUSTOMIZATION + documents.dump(kustomization),
        "objects.yaml": _HEAD + documents.dump(*parts.beside),
    }

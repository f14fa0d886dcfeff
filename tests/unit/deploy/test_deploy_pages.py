"""Objects that pages show: those of Kubernetes' own kinds follow its schemas."""

from pathlib import Path

import kubernetes_validate
import pytest

from tests.unit.deploy import manifests, olm
from tests.unit.deploy.test_deploy_manifests import VERSIONS

DOCS = manifests.DEPLOY.parent / "docs"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("page", [DOCS / "ngc.md"], ids=lambda page: page.name)
def test_objects_on_pages_follow_the_schemas_of_kubernetes(page: Path, version: str) -> None:
    """Each object that the page shows is valid without an unknown field."""
    found = olm.documents_in(page)
    assert found
    for document in found:
        kubernetes_validate.validate(document, version, strict=True)

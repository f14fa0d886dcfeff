"""The extended resources for which kube-scheduler calls the extender, written into its configuration file.

kube-scheduler compares `extenders[].managedResources` exactly and knows no wildcard, so the file has to list the
resource of every profile there may be. `make manifests` runs this module on deploy/kube-scheduler/config.yaml; a test
keeps the file equal to the catalogues.
"""

import re
import sys
from pathlib import Path

from allocator import errors
from allocator.mig import gpu_models
from allocator.mig.profile import resource_name

SCHEDULER_NAME = "migsched"  # of the profile in that file, which pods name as their schedulerName

_KEY = "managedResources:"


def managed_resources() -> tuple[str, ...]:
    """Resource names of all profiles that are published for any GPU model and driver, small profiles first."""
    return tuple(sorted(map(resource_name, gpu_models.published_names()), key=_by_size))


def with_managed_resources(configuration: str) -> str:
    """The same YAML text, with everything after its last key, `managedResources:`, replaced by the list.

    Text, not an object, goes in and out because the comments are to survive.

    Raises SettingsError if the text does not have that key exactly once, alone on its line.
    """
    parts = re.split(rf"^( *){re.escape(_KEY)}$", configuration, flags=re.MULTILINE)
    if len(parts) != 3:
        raise errors.SettingsError("KubeSchedulerConfiguration", _KEY, "have this key once, alone on its line, last")
    head, indent, _replaced = parts
    names = (f"{indent}- name: {name}\n" for name in managed_resources())
    return f"{head}{indent}{_KEY}\n{''.join(names)}"


def _by_size(resource: str) -> tuple[list[int], str]:
    return [int(number) for number in re.findall(r"\d+", resource)], resource


def main(path: Path) -> None:
    """Rewrite the file at `path`."""
    path.write_text(with_managed_resources(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""`python -m node_agent.gpu.nvml`: print as JSON what the driver says about every GPU. Read-only.

Exit code 0, or 2 with a message on stderr where there is no usable driver.
"""

import json
import sys

from node_agent.gpu import device
from node_agent.gpu.nvml.driver import Driver
from node_agent.gpu.nvml.observe import observe


def main(driver: Driver | None = None) -> int:
    """Print what this driver says, the node's own by default, and return the exit code."""
    try:
        observed = observe(driver or Driver())
    except device.DeviceError as error:
        sys.stderr.write(f"cannot observe: {error}\n")
        return 2
    sys.stdout.write(json.dumps(observed, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The GPUs: the port to them, its wrappers, and the driver behind it in `nvml`."""

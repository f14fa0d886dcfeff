"""Boards: which of a node's boards are not for computing, and so are never given to a container. Pure; for both ports.

NVML counts a display adapter as a GPU like any other. Two things tell: the product names that NVIDIA's own libraries
pass over (go-nvlib, pkg/nvlib/device/api.go: the adapter of a DGX Station), and what NVML says of the board.
A monitor that is attached says nothing: a workstation's one GPU has it and computes.
"""

DISPLAY_PRODUCTS = frozenset({"DGX Display", "NVIDIA DGX Display"})
NVS = 3  # NVML_BRAND_NVS: boards for many monitors
PROHIBITED = 2  # NVML_COMPUTEMODE_PROHIBITED: no CUDA context can be made, by `nvidia-smi --compute-mode`


def why_not_for_computing(product: str, brand: int | None, compute_mode: int | None) -> str:
    """Why a board is not for computing, in words; empty if it is. NVML's numbers, None where it does not tell."""
    if product in DISPLAY_PRODUCTS:
        return f"{product} is a display adapter: never offered"
    if brand == NVS:
        return f"{product} is of the brand NVS, display adapters: never offered"
    if compute_mode == PROHIBITED:
        return "its compute mode is PROHIBITED: no CUDA program can run, so it is not offered"
    return ""

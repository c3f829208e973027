"""What common NVIDIA GPUs can compute at most, by the name that the driver gives them.

Dense matrix products (no sparsity) in TFLOP/s, from NVIDIA's data sheets (A100, H100, H200, L4, L40S, V100, T4) and
architecture white papers (Ampere GA102, Ada, RTX Blackwell; 16 bits with sums in 32). float32 is that of the ordinary
units: torch does not use TF32 unless it is asked to.
"""

from __future__ import annotations

import re
from typing import Final

# (beginning of the name, 16 bits, float32)
_DATA_CENTRE: Final = (
    ("A100", 312.0, 19.5),
    ("H100 PCIe", 756.0, 51.0),
    ("H100 NVL", 835.0, 60.0),
    ("H100", 989.4, 67.0),
    ("H200 NVL", 835.0, 60.0),
    ("H200", 989.4, 67.0),
    ("L40S", 362.0, 91.6),
    ("L4", 121.0, 30.3),
    ("V100-PCIE", 112.0, 14.0),
    ("V100S", 130.0, 16.4),
    ("V100", 125.0, 15.7),
    ("T4", 65.0, 8.1),
)
# float32; 16 bits with sums in 32 are twice that on all of them.
_GEFORCE: Final = {
    "3060": 12.7, "3060 Ti": 16.2, "3070": 20.3, "3070 Ti": 21.7, "3080": 29.8, "3080 Ti": 34.1, "3090": 35.6,
    "3090 Ti": 40.0, "4060": 15.1, "4060 Ti": 22.1, "4070": 29.1, "4070 SUPER": 35.5, "4070 Ti": 40.1,
    "4070 Ti SUPER": 44.1, "4080": 48.7, "4080 SUPER": 52.2, "4090": 82.6, "5070": 30.9, "5070 Ti": 43.9,
    "5080": 56.3, "5090": 104.8,
}  # fmt: skip
_WITHOUT_BFLOAT16: Final = ("V100", "T4")


def peak_flops(device_name: str, precision: str) -> float | None:
    """Peak FLOP/s of a GPU; None of one that is not in the table, of a part of one (MIG), of one for laptops.

    Args:
        device_name: as `torch.cuda.get_device_name` says it.
        precision: `bfloat16`, `float16` or `float32`.
    """
    name = re.sub(r"^(NVIDIA |Tesla |GeForce |RTX )+", "", device_name)
    if "MIG" in name:
        return None
    if "GeForce" in device_name:
        single = _GEFORCE.get(name)
        return None if single is None else 1e12 * single * (1 if precision == "float32" else 2)
    row = next((row for row in _DATA_CENTRE if re.match(rf"{re.escape(row[0])}(?![0-9A-Za-z])", name)), None)
    if row is None or (precision == "bfloat16" and row[0].startswith(_WITHOUT_BFLOAT16)):
        return None
    return 1e12 * (row[2] if precision == "float32" else row[1])

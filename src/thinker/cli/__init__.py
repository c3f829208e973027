"""The command line."""


def main() -> None:
    """Console script `thinker`."""
    raise SystemExit("not built yet")

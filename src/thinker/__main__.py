"""`python -m thinker` is the console script `thinker`."""

from thinker.cli import main

if __name__ == "__main__":
    main()

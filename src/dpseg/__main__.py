"""`python -m dpseg` is the `dpseg` command."""

from dpseg.cli import main

if __name__ == "__main__":
    main()

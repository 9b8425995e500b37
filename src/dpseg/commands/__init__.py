"""Bodies of the commands that `dpseg.cli` registers, one module each."""

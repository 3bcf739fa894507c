"""``python -m research``: the command line."""

from research.cli import main

main()

"""`python -m phoenix_etl` is the `phoenix-etl` command."""

from phoenix_etl.cli import main

main()

"""`python -m brulee` is the `brulee` command."""

from brulee.cli.main import main

if __name__ == "__main__":
    main()

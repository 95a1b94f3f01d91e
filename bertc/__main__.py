"""`python -m bertc` is `bertc`."""

from bertc.cli.main import main

if __name__ == "__main__":
    main()

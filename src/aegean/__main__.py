"""`python -m aegean` is the command `aegean`."""

from aegean.cli import main

if __name__ == "__main__":
    main()

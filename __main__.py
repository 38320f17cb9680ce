"""`python -m umbel`: the same as the command `umbel`."""

from .cli import main

if __name__ == "__main__":
    main()

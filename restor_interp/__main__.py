"""`python -m restor_interp` is `restor-interp`."""

from restor_interp.cli import main

if __name__ == "__main__":
    main()

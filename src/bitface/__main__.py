"""`python -m bitface` is the program `bitface`."""

from bitface.cli import main

if __name__ == "__main__":
    main()

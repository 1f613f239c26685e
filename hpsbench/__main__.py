"""`python -m hpsbench` is `hpsbench`."""

from hpsbench.cli import main

if __name__ == "__main__":
    main()

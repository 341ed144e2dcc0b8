"""`python -m auscult`."""

from auscult.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

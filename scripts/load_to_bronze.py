#!/usr/bin/env python3
"""Load raw files into bronze: a thin door to `lakeops load`."""

from lakeops.cli import load_main

if __name__ == "__main__":
    load_main()

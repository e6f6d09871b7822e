"""Thin door: `python scripts/generate_data.py --seed 43 --start-date 2024-04-01 --days 2 --out data_raw_increment`."""

from lakeops.cli import generate_main

if __name__ == "__main__":
    generate_main()

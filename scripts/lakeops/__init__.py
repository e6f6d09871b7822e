"""lakeops: a lakehouse that one small team runs on one machine and trusts."""

__version__ = "0.1.0"

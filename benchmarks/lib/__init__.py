"""What the scripts share: networks and data (`common`), the peers, and the tables made of results (`tables`,
`engine_tables`, `pages`). Scripts are started as `python benchmarks/NAME.py`, which puts this folder on the path.
"""

"""When and where the pipeline runs: Dagster assets, resources, schedules, checks, and the command line.

No data logic: an asset reads what it needs, calls one function of ``etl`` and publishes the rows.
"""

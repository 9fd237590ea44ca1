"""Partitions: every dataset of the registry is one partition of the per-dataset assets."""

import dagster as dg

from etl.sources import SOURCES

datasets = dg.StaticPartitionsDefinition(list(SOURCES))

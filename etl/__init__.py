"""How data is read, harmonized, computed, written and scanned: frames and arrays in and out, no Dagster."""

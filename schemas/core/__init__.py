"""What was done and measured, harmonized."""

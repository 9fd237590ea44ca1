"""From expression blocks of an adapter to rows of ``core/expression``."""

"""The contract with the data: expectations by Great Expectations, and the report."""

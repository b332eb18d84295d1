"""The ridge construction: almost nothing but coefficients."""

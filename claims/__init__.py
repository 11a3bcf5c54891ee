"""Claims, one folder per mechanism."""

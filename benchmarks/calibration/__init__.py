"""Calibration of the suite itself: how often it says `supported`, `refuted` or nothing where the truth is known.

`nox -s calibrate -- WHAT`; the parts are described in `__main__.py`, what they found in `reports/CALIBRATION.md`.
"""

"""Steering: Turner et al. 2023, Rimsky et al. 2024, Tigges et al. 2023, Marks and Tegmark 2023, Park et al. 2023."""

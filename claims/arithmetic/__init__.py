"""Arithmetic: Quirke and Barez 2024, Nanda et al. 2023, Zhong et al. 2023."""

"""Comparisons side by side, each made by one command; they run the scripts and import none."""

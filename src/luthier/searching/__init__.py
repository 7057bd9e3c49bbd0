"""What to try next: samplers propose settings, schedulers say who goes on. Nothing here trains.

All of it is a function of the history, so a search goes on from its store alone; `studying/` keeps that, and works.
"""

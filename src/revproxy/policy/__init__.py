"""Decisions, pure: state, time and a question in, an answer out."""

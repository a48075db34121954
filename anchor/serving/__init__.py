"""On air: speech in, a person speaking out, live, many sessions at once on one machine."""

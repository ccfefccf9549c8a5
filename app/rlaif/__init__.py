"""Pure domain: no I/O, no clock, and no randomness except what is passed in."""

"""One run: its set-up, the loop with side effects, its folder and all that lies in it."""

"""What a run does on the cores of a chip; ``docs/chips.md`` says what each count means."""

"""Where each neuron of a program lives on a chip; ``docs/chips.md`` says what is modelled."""

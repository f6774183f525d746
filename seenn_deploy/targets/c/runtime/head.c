#define NET_LIMIT 8388608 /* potentials and synaptic currents stay below it, on both sides */

/* Potentials before the first timestep, of neurons with constants of their own. */
static void net_start_each(const net_fire_each_t *how, const net_neuron_t *neuron,
                           const uint16_t *row, int32_t *v)
{
    uint32_t at = 0;
    for (uint32_t pixel = 0; pixel < how->pixels; ++pixel) {
        const net_neuron_t *own = neuron + (row == NULL ? 0u : row[pixel] * how->channels);
        for (uint32_t channel = 0; channel < how->channels; ++channel, ++at) {
            v[at] = own[channel].start;
        }
    }
}

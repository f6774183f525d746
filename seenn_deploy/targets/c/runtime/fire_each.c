/* One timestep of neurons with constants of their own, or with synaptic currents u. */
static void net_fire_each_${sum}(const net_fire_each_t *how, const net_neuron_t *neuron,
                                 const uint16_t *row, const ${sum}_t *sums, int32_t *u,
                                 int32_t *v, uint32_t *sent)
{
    uint32_t at = 0;
    (void)memset(sent, 0, (how->pixels * how->channels + 31u) / 32u * sizeof *sent);
    for (uint32_t pixel = 0; pixel < how->pixels; ++pixel) {
        const net_neuron_t *own = neuron + (row == NULL ? 0u : row[pixel] * how->channels);
        for (uint32_t channel = 0; channel < how->channels; ++channel, ++at, ++own) {
            int64_t added = (int64_t)net_arriving(sums[at]) + own->bias;
            if (u != NULL) {
                added += net_toward_zero_int64((int64_t)u[at] * own->keep_current, 12);
                u[at] = net_clipped_int64(added);
                added = u[at];
            }
            int32_t after = net_clipped_int64(
                net_toward_zero_int64((int64_t)v[at] * own->keep, 12) + added);
            if (after > own->threshold) {
                sent[at / 32u] |= (uint32_t)1 << at % 32u;
                after = how->soft ? after - own->subtracted : 0;
            }
            v[at] = after;
        }
    }
}

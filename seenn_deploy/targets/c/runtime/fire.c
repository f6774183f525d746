/* One timestep of leaky neurons with the same constants: v' = leak v + current + bias. */
static void net_fire_${bias}_${sum}_${v}_${wide}(const net_fire_t *how, const ${bias}_t *bias,
                                                 const uint16_t *row, const ${sum}_t *sums,
                                                 ${v}_t *v, uint32_t *sent)
{
    uint32_t at = 0;
    (void)memset(sent, 0, (how->pixels * how->channels + 31u) / 32u * sizeof *sent);
    for (uint32_t pixel = 0; pixel < how->pixels; ++pixel) {
        const ${bias}_t *own = bias + (row == NULL ? 0u : row[pixel] * how->channels);
        for (uint32_t channel = 0; channel < how->channels; ++channel, ++at) {
            const ${wide}_t kept =
                net_toward_zero_${wide}((${wide}_t)v[at] * how->keep, how->keep_bits);
            const int32_t added = net_arriving(sums[at]) + own[channel] * how->bias_unit;
            int32_t after = net_clipped_${wide}(kept + added);
            if (after > how->threshold) {
                sent[at / 32u] |= (uint32_t)1 << at % 32u;
                after = how->soft ? after - how->subtracted : 0;
            }
            v[at] = (${v}_t)after;
        }
    }
}

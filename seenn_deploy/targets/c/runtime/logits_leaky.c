/* The same for a readout that leaks, or that has synaptic currents u. */
static void net_logits_leaky_${sum}(const int32_t *bias, const int16_t *keep_current,
                                    const int16_t *keep, const ${sum}_t *sums, int64_t *u,
                                    int64_t *z)
{
    for (uint32_t i = 0; i < NET_CLASSES; ++i) {
        u[i] = net_toward_zero_int64(u[i] * keep_current[i], 12) + sums[i] + bias[i];
        z[i] = net_toward_zero_int64(z[i] * keep[i], 12) + u[i];
    }
}
